"""A service with long-lived answers, for proving that they outlive what happens around them.

    /stream/download   a line every 50 ms, numbered from 0, without end
    /stream/echo       a WebSocket that sends every text back
"""

import asyncio
import base64
import hashlib

WEBSOCKET_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


async def serve(reader, writer):
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        path = head[0].split(b" ")[1]
        fields = dict(line.split(b": ", 1) for line in head[1:] if line)
        fields = {name.lower(): value for name, value in fields.items()}
        if path == b"/stream/download":
            await download(writer)
        elif path == b"/stream/echo":
            await echo(reader, writer, fields[b"sec-websocket-key"])
        else:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError):
        pass  # the client left
    finally:
        writer.close()


async def download(writer):
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    number = 0
    while True:
        line = b"%d\n" % number
        writer.write(b"%x\r\n%s\r\n" % (len(line), line))
        await writer.drain()
        await asyncio.sleep(0.05)
        number += 1


async def echo(reader, writer, key):
    accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET_KEY_SUFFIX).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    while True:
        # Short, masked and whole: the client of the test sends no other frame. RFC 6455 §5.2
        opcode, length = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        payload = await reader.readexactly(length & 0x7F)
        text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        writer.write(bytes([opcode, len(text)]) + text)
        await writer.drain()
        if opcode & 0x0F == 0x8:
            return


async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", 9000)
    await server.serve_forever()


asyncio.run(main())
