#!/usr/bin/env python3
"""Traffic of people who mean well: each answer has to be the right one, whole, and from the right tenant.

    good.py PORT SECONDS        prints its tally
"""

import asyncio
import itertools
import random
import sys
import zlib

sys.dont_write_bytecode = True

from pace import Kind, Tally, drive
from wire import CLOSE, TEXT, UPGRADE, Client, body, frame, read_frame, read_head

PORT = int(sys.argv[1])
TENANTS = ("thor", "potter")
WITHIN_S = 30
tally = Tally()
ids = itertools.count()
chance = random.Random(1)


class Wrong(Exception):
    """An answer that isn't what it should be."""


def expect(got: object, expected: object) -> None:
    if got != expected:
        raise Wrong(f"{str(got)[:200]} instead of {str(expected)[:200]}")


def target(what: str, number: int = 0) -> str:
    """Counted here: of each there has to be one line in the access log."""
    tally.statuses["asked"] += 1
    return f"/g/{what}/{next(ids)}?{number}"


def tenant() -> str:
    return f"{chance.choice(TENANTS)}.test"


async def get(client: Client) -> None:
    host, path = tenant(), target("echo")
    await client.ask("GET", host, path)
    head, content = await client.answer()
    expect((head.status, content), (200, f"GET {path} HTTP/1.1\n{host}\n".encode()))


async def keep_alive() -> None:
    async with await Client.connect(PORT) as client:
        for _ in range(100):
            await get(client)
            await asyncio.sleep(0.05)


async def one_get() -> None:
    async with await Client.connect(PORT) as client:
        await get(client)


async def pipelined() -> None:
    async with await Client.connect(PORT) as client:
        asked = [(tenant(), target("echo")) for _ in range(10)]
        await client.send("".join(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n" for host, path in asked))
        for host, path in asked:
            head, content = await client.answer()
            expect((head.status, content), (200, f"GET {path} HTTP/1.1\n{host}\n".encode()))


async def head_and_empty() -> None:
    async with await Client.connect(PORT) as client:
        await client.ask("HEAD", tenant(), target("echo"))
        expect((await client.answer(empty=True))[0].status, 200)
        await get(client)


async def download() -> None:
    async with await Client.connect(PORT) as client:
        size = chance.randrange(1 << 20)
        for what in ("bytes", "chunked"):
            await client.ask("GET", tenant(), target(what, size))
            head, content = await client.answer()
            expect((head.status, len(content), zlib.crc32(content)), (200, size, zlib.crc32(body(size))))


async def upload(client: Client, fields: str, sent: bytes, content: bytes) -> None:
    await client.ask("POST", tenant(), target("upload"), fields, sent)
    head, answer = await client.answer()
    expect((head.status, answer.decode()), (200, f"{len(content)} {zlib.crc32(content)}"))


async def uploads() -> None:
    async with await Client.connect(PORT) as client:
        content = body(chance.randrange(1 << 20))
        await upload(client, f"Content-Length: {len(content)}\r\n", content, content)
        chunks = [content[start : start + 7919] for start in range(0, len(content), 7919)]
        sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        await upload(client, "Transfer-Encoding: chunked\r\n", sent, content)


async def asks_first() -> None:
    async with await Client.connect(PORT) as client:
        content = body(100_000)
        fields = f"Content-Length: {len(content)}\r\nExpect: 100-continue\r\n"
        await client.ask("PUT", tenant(), target("upload"), fields)
        expect((await read_head(client.reader)).status, 100)
        await client.send(content)
        head, answer = await client.answer()
        expect((head.status, answer.decode()), (200, f"{len(content)} {zlib.crc32(content)}"))


async def events() -> None:
    async with await Client.connect(PORT) as client:
        await client.ask("GET", tenant(), target("sse", 40))
        head, content = await client.answer()
        expect((head.status, content), (200, b"".join(b"data: %d\n\n" % number for number in range(40))))


async def websocket() -> None:
    async with await Client.connect(PORT) as client:
        await client.ask("GET", tenant(), target("ws"), UPGRADE)
        expect((await client.answer())[0].status, 101)
        for number in range(40):
            said = f"{number} ".encode() * chance.randrange(1, 500)
            await client.send(frame(TEXT, said, masked=True))
            expect(await read_frame(client.reader), (TEXT, said))
            await asyncio.sleep(0.2)
        await client.send(frame(CLOSE, b"\x03\xe8", masked=True))
        expect(await read_frame(client.reader), (CLOSE, b"\x03\xe8"))


async def slow_answer() -> None:
    async with await Client.connect(PORT) as client:
        await client.ask("GET", tenant(), target("slow", 1500))
        expect((await client.answer())[1], b"at last")


KINDS = [
    Kind("GETs on a kept connection", keep_alive, 2, 30),
    Kind("GET on a new connection", one_get, 25, 50),
    Kind("ten GETs in one go", pipelined, 2, 10),
    Kind("HEAD, then GET", head_and_empty, 5, 20),
    Kind("downloads", download, 3, 20),
    Kind("uploads", uploads, 3, 20),
    Kind("uploads that ask first", asks_first, 3, 20),
    Kind("events for 8 s", events, 3, 60),
    Kind("a WebSocket for 8 s", websocket, 3, 60),
    Kind("answers after 1.5 s", slow_answer, 3, 30),
]


async def one(kind: Kind) -> None:
    try:
        async with asyncio.timeout(WITHIN_S):
            await kind.act()
        tally.done[kind.name] += 1
    except (OSError, EOFError, TimeoutError, ValueError, Wrong) as error:
        tally.fail(kind.name, error)


if __name__ == "__main__":
    asyncio.run(drive(KINDS, float(sys.argv[2]), one, tally))
    tally.tell()
