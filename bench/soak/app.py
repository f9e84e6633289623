#!/usr/bin/env python3
"""The tenants' app, with manners that the path names: good ones, and those of an app that is broken or evil.

    app.py        prints the port that it listens on, and serves until it is killed

A target is `/WHO/WHAT/ID?NUMBER`. `/h/count/ID` says how many requests for `/h/smuggled` have arrived.
"""

import asyncio
import socket
import struct
import sys
import zlib
from collections import Counter

sys.dont_write_bytecode = True

from wire import ACCEPTED, CLOSE, HEAD_BYTES_MAX, Head, body, frame, read_body, read_frame, read_head

EVENT_S = 0.2
# A handler ends by then, whatever it waits for.
HANDLER_S = 60
arrived: Counter[str] = Counter()


class App:
    """One connection of the edge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def serve(self) -> None:
        while True:
            head = await read_head(self.reader)
            path, _, number = head.first.split(" ")[1].partition("?")
            what = (path.split("/") + ["", ""])[2]
            arrived[what] += 1
            if (do := getattr(self, f"on_{what.replace('-', '_')}", None)) is None:
                do = self.on_echo
            async with asyncio.timeout(HANDLER_S):
                if not await do(head, int(number or 0)):
                    return

    async def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def say(self, content: bytes) -> bool:
        await self.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        return True

    async def take(self, head: Head) -> bytes:
        if head.says("expect", "100-continue"):
            await self.send("HTTP/1.1 100 Continue\r\n\r\n")
        return await read_body(self.reader, head)

    # ── good ──

    async def on_echo(self, head: Head, _number: int) -> bool:
        content = await self.take(head)
        return await self.say(f"{head.first}\n{head.fields.get('host')}\n".encode() + content[:100])

    async def on_count(self, head: Head, _number: int) -> bool:
        return await self.say(str(arrived["smuggled"]).encode())

    async def on_bytes(self, _head: Head, size: int) -> bool:
        return await self.say(body(size))

    async def on_chunked(self, _head: Head, size: int) -> bool:
        await self.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        content = body(size)
        for start in range(0, size, 10_007):
            piece = content[start : start + 10_007]
            await self.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await self.send("0\r\n\r\n")
        return True

    async def on_upload(self, head: Head, _number: int) -> bool:
        content = await self.take(head)
        return await self.say(f"{len(content)} {zlib.crc32(content)}".encode())

    async def on_sse(self, _head: Head, events: int) -> bool:
        await self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(events):
            event = f"data: {number}\n\n"
            await self.send(f"{len(event):x}\r\n{event}\r\n")
            await asyncio.sleep(EVENT_S)
        await self.send("0\r\n\r\n")
        return True

    async def on_ws(self, _head: Head, _number: int) -> bool:
        await self.send(ACCEPTED)
        while True:
            opcode, data = await read_frame(self.reader)
            await self.send(frame(opcode, data, masked=False))
            if opcode == CLOSE:
                return False

    async def on_slow(self, _head: Head, milliseconds: int) -> bool:
        await asyncio.sleep(milliseconds / 1000)
        return await self.say(b"at last")

    # ── broken, or worse ──

    def reset_now(self) -> bool:
        wire = self.writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        return False

    async def on_reset(self, _head: Head, _number: int) -> bool:
        return self.reset_now()

    async def on_reset_midway(self, _head: Head, _number: int) -> bool:
        await self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + body(300_000))
        return self.reset_now()

    async def on_reset_upload(self, _head: Head, _number: int) -> bool:
        await self.reader.read(1000)
        return self.reset_now()

    async def on_hang(self, _head: Head, _number: int) -> bool:
        await asyncio.sleep(HANDLER_S / 2)
        return False

    async def on_hang_midway(self, _head: Head, _number: int) -> bool:
        await self.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + body(1000))
        await asyncio.sleep(HANDLER_S / 2)
        return False

    async def on_hang_upgraded(self, _head: Head, _number: int) -> bool:
        await self.send(ACCEPTED)
        await asyncio.sleep(HANDLER_S / 2)
        return False

    async def on_close(self, _head: Head, _number: int) -> bool:
        return False

    async def on_close_early(self, _head: Head, _number: int) -> bool:
        await self.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        return False

    async def on_answer_early(self, _head: Head, _number: int) -> bool:
        await self.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        return False

    async def on_trickle(self, _head: Head, _number: int) -> bool:
        await self.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            await self.send("x")
            await asyncio.sleep(0.05)
        return True

    async def on_garble(self, _head: Head, number: int) -> bool:
        await self.send(GARBLED[number % len(GARBLED)])
        return False

    async def on_unasked(self, _head: Head, _number: int) -> bool:
        """Two answers to one question."""
        await self.say(b"yours")
        return await self.say(b"nobody's")

    async def on_interim(self, _head: Head, _number: int) -> bool:
        await self.send("HTTP/1.1 102 Processing\r\n\r\n" * 1000)
        return await self.say(b"finally")


GARBLED = (
    b"\x00\x01\x02\xff" * 100,
    b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n",
    b"HTTP/1.1 999999 What\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"",
)


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await App(reader, writer).serve()
    except (OSError, EOFError, TimeoutError, ValueError, IndexError, asyncio.LimitOverrunError):
        # The other side has left, or what it sent makes no sense.
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(converse, "127.0.0.1", 0, limit=HEAD_BYTES_MAX, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
