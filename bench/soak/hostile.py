#!/usr/bin/env python3
"""Traffic of people who mean harm, and of apps that are broken. What they get is counted; what they may not get is to stay.

    hostile.py PORT SECONDS        prints its tally

A failure here is a connection that the edge should have ended by itself (by the time-outs in edge.py) and didn't.
"""

import asyncio
import itertools
import random
import sys

sys.dont_write_bytecode = True

from pace import Kind, Tally, drive
from wire import UPGRADE, Client, frame

PORT = int(sys.argv[1])
# The edge's longest time-out here is 5 s; the rest is for a machine that is busy.
OUTSTAYED_S = 15
tally = Tally()
ids = itertools.count()
chance = random.Random(2)

SMUGGLED = "GET /h/smuggled/0 HTTP/1.1\r\nHost: thor.test\r\n\r\n"
HOST = "Host: thor.test\r\n"


class Outstayed(Exception):
    """The edge still has the connection."""


def host() -> str:
    return chance.choice(("thor.test", "loki.test"))


def target(what: str, number: int = 0) -> str:
    return f"/h/{what}/{next(ids)}?{number}"


async def read_to_end(client: Client, within_s: float = OUTSTAYED_S) -> bytes:
    """What still comes until the edge ends the connection, which it has to."""
    pieces = []
    try:
        async with asyncio.timeout(within_s):
            while piece := await client.reader.read(65_536):
                pieces.append(piece)
    except TimeoutError:
        raise Outstayed(f"open after {within_s} s; it said {b''.join(pieces)[:100]!r}") from None
    except OSError:
        pass
    return b"".join(pieces)


def note(answer: bytes) -> None:
    """Counts the status that a stranger was shown."""
    status = answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.1 ") else "none"
    tally.statuses[status] += 1


# ── heads ──


async def silent() -> None:
    async with await Client.connect(PORT) as client:
        note(await read_to_end(client))


async def slowloris() -> None:
    async with await Client.connect(PORT) as client:

        async def trickle() -> None:
            for byte in itertools.cycle(f"GET / HTTP/1.1\r\n{HOST}X-A: b\r\n".replace("\r\n\r\n", "\r\n")):
                await client.send(byte)
                await asyncio.sleep(0.3)

        writing = asyncio.create_task(trickle())
        try:
            note(await read_to_end(client))
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def half_a_head() -> None:
    client = await Client.connect(PORT)
    await client.send(f"GET / HTTP/1.1\r\n{HOST}X-Half: "[: chance.randrange(1, 50)])
    await asyncio.sleep(chance.random())
    client.reset()


MALFORMED = [
    "\x00\x01\x02\x03\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "x" * 200,
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    f"GET /\r\n{HOST}\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}{HOST}\r\n",
    "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: thor.test, loki.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: thor.test:99999\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST}X : y\r\n\r\n",
    f"GET / HTTP/1.1\r\n{HOST} folded\r\n\r\n",
    f"GET / HTTP/1.1\r\n: x\r\n{HOST}\r\n",
    f"GET / HTTP/1.1\r\n{HOST}X: a\x00b\r\n\r\n",
    f"GET / HTTP/1.1\n{HOST}\n\n",
    f"GET  /  HTTP/1.1\r\n{HOST}\r\n",
    f"G<T / HTTP/1.1\r\n{HOST}\r\n",
    f"GET /\x7f HTTP/1.1\r\n{HOST}\r\n",
    f"GET ../etc HTTP/1.1\r\n{HOST}\r\n",
    f"CONNECT thor.test:80 HTTP/1.1\r\n{HOST}\r\n",
    "GET http://loki.test/h/echo/0 HTTP/1.1\r\nHost: thor.test\r\n\r\n",
    "GET http:///x HTTP/1.1\r\nHost: thor.test\r\n\r\n",
    f"POST /h/echo/0 HTTP/1.1\r\n{HOST}Content-Length: abc\r\n\r\n",
    f"POST /h/echo/0 HTTP/1.1\r\n{HOST}Content-Length: -1\r\n\r\n",
    f"POST /h/echo/0 HTTP/1.1\r\n{HOST}Content-Length: 99999999999999999999\r\n\r\n",
    f"POST /h/echo/0 HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip\r\n\r\n",
    f"GET /h/echo/0 HTTP/1.1\r\n{HOST}Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n",
    f"GET /h/echo/0 HTTP/1.1\r\n{HOST}Connection: Host, X-Forwarded-For\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n",
    f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n",
]


async def malformed() -> None:
    async with await Client.connect(PORT) as client:
        await client.send(chance.choice(MALFORMED).encode("latin-1"))
        note(await read_to_end(client))


async def oversized() -> None:
    heads = (
        f"GET / HTTP/1.1\r\n{HOST}X: {'x' * 200_000}\r\n\r\n",
        f"GET /{'x' * 200_000} HTTP/1.1\r\n{HOST}\r\n",
        f"GET / HTTP/1.1\r\n{HOST}" + "".join(f"X-{number}: y\r\n" for number in range(2000)) + "\r\n",
    )
    async with await Client.connect(PORT) as client:
        await client.send(chance.choice(heads))
        note(await read_to_end(client))


# ── framing ──

POST = f"POST /h/echo/0 HTTP/1.1\r\n{HOST}"
SMUGGLING = [
    f"{POST}Content-Length: {len(SMUGGLED) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{len(SMUGGLED):x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
    f"{POST}Content-Length: 0\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    f"{POST}Content-Length: {len(SMUGGLED)}, 0\r\n\r\n{SMUGGLED}",
    f"{POST}Content-Length : {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    f"{POST}Content-Length: +{len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    f"{POST}Transfer-Encoding: xchunked\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    f"{POST}Transfer-Encoding : chunked\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{SMUGGLED}",
    f"{POST}Transfer-Encoding:\x0bchunked\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    f"{POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{SMUGGLED}",
    f"{POST}X: y\rTransfer-Encoding: chunked\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    f"{POST}Connection: Content-Length\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    f"{POST}Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n{len(SMUGGLED):x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
    f"POST /h/echo/0 HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{SMUGGLED}",
    f"{POST}Transfer-Encoding: chunked\r\n\r\n0;\n{SMUGGLED}\r\n\r\n",
    f"GET /h/echo/0 HTTP/1.1\r\n{HOST}{UPGRADE}\r\n{SMUGGLED}",
    f"GET /h/echo/0 HTTP/1.1\r\n{HOST}X: y\nX-B: {SMUGGLED}\r\n\r\n",
]
BAD_CHUNKS = [
    "xyz\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff1\r\nhello",
    "-5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5 5\r\nhello\r\n0\r\n\r\n",
    f"5;{'x' * 100_000}\r\nhello\r\n0\r\n\r\n",
    f"0\r\n{'X: y' * 30_000}\r\n\r\n",
    "\r\n5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
]


async def smuggling() -> None:
    async with await Client.connect(PORT) as client:
        await client.send(chance.choice(SMUGGLING).encode("latin-1"))
        note(await read_to_end(client))


async def bad_chunks() -> None:
    async with await Client.connect(PORT) as client:
        fields = "Transfer-Encoding: chunked\r\n"
        await client.ask("POST", host(), target("upload"), fields, chance.choice(BAD_CHUNKS).encode())
        note(await read_to_end(client))


# ── pace ──


async def reads_nothing() -> None:
    """32 MiB are asked for, which no buffer holds; nothing is read until long after the edge should have cut it."""
    async with await Client.connect(PORT, receive_bytes=4096) as client:
        await client.ask("GET", host(), target("bytes", 32 << 20))
        await asyncio.sleep(OUTSTAYED_S)
        if len(await read_to_end(client)) > 32 << 20:
            raise Outstayed("all of it was waiting")


async def reads_slowly() -> None:
    client = await Client.connect(PORT, receive_bytes=4096)
    await client.ask("GET", host(), target("bytes", 8 << 20))
    for _ in range(20):
        await client.reader.read(1000)
        await asyncio.sleep(0.3)
    client.reset()


async def writes_nothing_more() -> None:
    async with await Client.connect(PORT) as client:
        fields = chance.choice(("Content-Length: 1000000\r\n", "Transfer-Encoding: chunked\r\n"))
        await client.ask("POST", host(), target("upload"), fields, b"ffff\r\nxyz")
        note(await read_to_end(client))


async def writes_slowly() -> None:
    async with await Client.connect(PORT) as client:
        await client.ask("POST", host(), target("upload"), "Content-Length: 1000000\r\n")
        for _ in range(20):
            await client.send("x")
            await asyncio.sleep(0.3)


async def idles() -> None:
    async with await Client.connect(PORT) as client:
        await client.ask("GET", host(), target("echo"))
        note(await read_to_end(client))


async def tunnel_idles() -> None:
    async with await Client.connect(PORT) as client:
        await client.ask("GET", host(), target(chance.choice(("ws", "hang-upgraded"))), UPGRADE)
        note(await read_to_end(client))


# ── leaving ──


def aborts() -> list[bytes]:
    """What is said before leaving: of each phase of a request, up to somewhere in it."""
    upload = f"POST {target('upload')} HTTP/1.1\r\nHost: {host()}\r\n"
    return [
        b"",
        f"GET {target('slow', 3000)} HTTP/1.1\r\nHost: {host()}\r\n\r\n".encode(),
        f"{upload}Content-Length: 1000000\r\n\r\n".encode() + b"x" * chance.randrange(500_000),
        f"{upload}Transfer-Encoding: chunked\r\n\r\nfffff\r\n".encode() + b"x" * chance.randrange(500_000),
        f"{upload}Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n".encode(),
        f"GET {target('bytes', 8 << 20)} HTTP/1.1\r\nHost: {host()}\r\n\r\n".encode(),
        f"GET {target('sse', 100)} HTTP/1.1\r\nHost: {host()}\r\n\r\n".encode(),
        f"GET {target('ws')} HTTP/1.1\r\nHost: {host()}\r\n{UPGRADE}\r\n".encode() + frame(1, b"hello", masked=True),
        f"GET {target('echo')} HTTP/1.1\r\nHost: gone.test\r\n\r\n".encode(),
        f"GET {target('hang')} HTTP/1.1\r\nHost: loki.test\r\n\r\n".encode(),
    ]


async def leaves() -> None:
    client = await Client.connect(PORT)
    client.writer.write(chance.choice(aborts()))
    await asyncio.sleep(chance.random() * 0.5)
    if chance.random() < 0.5:
        client.reset()
    else:
        client.close()


async def half_closes() -> None:
    async with await Client.connect(PORT) as client:
        await client.send(chance.choice(aborts()))
        client.writer.write_eof()
        note(await read_to_end(client))


async def pipeline_flood() -> None:
    """Five hundred questions at once; the answers are read, or not, or some of them."""
    client = await Client.connect(PORT, receive_bytes=chance.choice((4096, 65_536)))
    try:
        client.writer.write(f"GET {target('echo')} HTTP/1.1\r\nHost: {host()}\r\n\r\n".encode() * 500)
        for _ in range(chance.choice((0, 5, 50))):
            await client.reader.read(4096)
            await asyncio.sleep(0.02)
    finally:
        client.reset()


# ── apps ──

BROKEN = (
    "reset reset-midway reset-upload hang hang-midway close close-early answer-early trickle garble unasked interim"
).split()


async def broken_app() -> None:
    async with await Client.connect(PORT) as client:
        what, number = chance.choice(BROKEN), chance.randrange(100)
        if chance.random() < 0.5:
            await client.ask("GET", "loki.test", target(what, number))
        else:
            fields = "Content-Length: 200000\r\n"
            await client.ask("POST", "loki.test", target(what, number), fields)
            try:
                await client.send(b"x" * 200_000)
            except OSError:
                pass
        note(await read_to_end(client))


async def away() -> None:
    async with await Client.connect(PORT) as client:
        await client.ask("GET", "gone.test", target("echo"), "Connection: close\r\n")
        note(await read_to_end(client))


KINDS = [
    Kind("silence", silent, 5, 100),
    Kind("slowloris", slowloris, 5, 100),
    Kind("half a head, then reset", half_a_head, 10, 50),
    Kind("malformed heads", malformed, 20, 150),
    Kind("oversized heads", oversized, 3, 30),
    Kind("smuggling", smuggling, 10, 100),
    Kind("bad chunks", bad_chunks, 5, 100),
    Kind("reads nothing", reads_nothing, 0.5, 12),
    Kind("reads slowly", reads_slowly, 1, 20),
    Kind("writes nothing more", writes_nothing_more, 3, 60),
    Kind("writes slowly", writes_slowly, 3, 40),
    Kind("idles after an answer", idles, 5, 100),
    Kind("idles in a tunnel", tunnel_idles, 3, 60),
    Kind("leaves in each phase", leaves, 20, 100),
    Kind("closes its half", half_closes, 5, 100),
    Kind("pipelining floods", pipeline_flood, 0.5, 5),
    Kind("broken apps", broken_app, 15, 200),
    Kind("an app that is away", away, 5, 50),
]


async def one(kind: Kind) -> None:
    try:
        # Longer than anything here takes: what isn't over by then is a mistake of this file.
        async with asyncio.timeout(4 * OUTSTAYED_S):
            await kind.act()
    except (Outstayed, TimeoutError) as error:
        tally.fail(kind.name, error)
    except (OSError, EOFError, ValueError):
        pass
    tally.done[kind.name] += 1


if __name__ == "__main__":
    asyncio.run(drive(KINDS, float(sys.argv[2]), one, tally))
    tally.tell()
