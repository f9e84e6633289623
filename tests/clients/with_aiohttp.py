"""aiohttp's client."""

import asyncio
import time
from collections.abc import AsyncIterator

import pattern
from aiohttp import ClientSession, ClientTimeout, TCPConnector, TraceConfig, WSMsgType
from checks import check, equal
from stage import Stage

MIB = 1 << 20


def session(at_once: int = 50, **options) -> ClientSession:
    return ClientSession(connector=TCPConnector(limit=at_once), timeout=ClientTimeout(total=15), **options)


@check("fifty at once, two tenants, a thousand requests")
async def at_once(stage: Stage) -> None:
    made = TraceConfig()
    connections = []

    async def note(*_arguments) -> None:
        connections.append(1)

    made.on_connection_create_end.append(note)
    async with session(trace_configs=[made]) as client:

        async def one(number: int) -> None:
            tenant = ("thor", "potter")[number % 2]
            async with client.get(stage.url(tenant, f"/echo?{number}")) as answer:
                got = await answer.json()
            equal((got["tenant"], got["target"]), (tenant, f"/echo?{number}"))

        await asyncio.gather(*(one(number) for number in range(1000)))
    # Those that wait for a slot of the other tenant may close one that is idle.
    equal(len(connections) < 500, True, f"{len(connections)} connections for 1,000 requests: few")


@check("cookies, redirects, forms")
async def browse(stage: Stage) -> None:
    async with session() as client:
        async with client.post(stage.url("thor", "/login")) as answer:
            equal((str(answer.url), (await answer.json())["session"]), (stage.url("thor", "/me"), "s3cr3t"))
        async with client.get(stage.url("potter", "/cookies")) as answer:
            equal(answer.headers.getall("Set-Cookie")[1], "b=2; Expires=Wed, 09 Jun 2032 10:18:14 GMT")
        async with client.post(stage.url("thor", "/form"), data={"a": "ä"}) as answer:
            equal(await answer.json(), {"a": "ä"})


@check("an upload that asks first (expect100)")
async def expect(stage: Stage) -> None:
    async with session() as client:
        for tenant in ("thor", "potter"):
            body = pattern.whole(MIB)
            async with client.put(stage.url(tenant, "/upload"), data=body, expect100=True) as answer:
                equal((await answer.json())["sha256"], pattern.digest(MIB), tenant)


@check("chunked uploads while answers come, twenty at once")
async def uploads(stage: Stage) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for piece in pattern.pieces(size, 16_001):
            yield piece

    async with session() as client:

        async def one(number: int) -> None:
            size = 50_000 * number
            async with client.post(stage.url("thor", "/upload"), data=pieces(size)) as answer:
                equal((await answer.json())["sha256"], pattern.digest(size))

        await asyncio.gather(*(one(number) for number in range(20)))


@check("downloads, twenty at once, read at leisure")
async def downloads(stage: Stage) -> None:
    async with session() as client:

        async def one(path: str) -> None:
            async with client.get(stage.url("thor", f"/{path}/{MIB}")) as answer:
                await asyncio.sleep(0.2)
                equal(pattern.digest_of(await answer.read()), pattern.digest(MIB), path)

        await asyncio.gather(*(one(path) for path in ("bytes", "chunked") * 10))


@check("events as they happen, twenty streams")
async def events(stage: Stage) -> None:
    async with session() as client:

        async def one() -> None:
            times = []
            async with client.get(stage.url("thor", "/sse/6")) as answer:
                async for line in answer.content:
                    if line.startswith(b"data: "):
                        times.append(time.monotonic())
            equal(len(times), 6, "events")
            equal(times[-1] - times[0] > 0.3, True, "they come one by one")

        await asyncio.gather(*(one() for _ in range(20)))


@check("WebSockets: fifty at once, text and bytes, compressed and not")
async def websockets(stage: Stage) -> None:
    async with session() as client:

        async def one(number: int) -> None:
            options = {"compress": 15 if number % 2 else 0, "protocols": ("echo",)}
            async with client.ws_connect(stage.url("thor", "/ws"), **options) as socket:
                equal(socket.protocol, "echo", "the protocol")
                for turn in range(5):
                    await socket.send_str(f"{number} {turn}")
                    equal((await socket.receive()).data, f"{number} {turn}")
                    await socket.send_bytes(pattern.whole(1000 * turn))
                    equal((await socket.receive()).data, pattern.whole(1000 * turn))

        await asyncio.gather(*(one(number) for number in range(50)))


@check("WebSockets: heartbeats, and the app's close")
async def closes(stage: Stage) -> None:
    async with session() as client, client.ws_connect(stage.url("thor", "/ws"), heartbeat=0.2) as socket:
        await asyncio.sleep(1)
        await socket.send_str("close 4001")
        message = await socket.receive()
        equal((message.type, message.data, message.extra), (WSMsgType.CLOSE, 4001, "as you say"))


@check("leaves in the middle, of an answer and of an upload")
async def leaves(stage: Stage) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        await asyncio.sleep(60)

    async with session() as client:
        for _ in range(5):
            async with client.get(stage.url("thor", f"/bytes/{20 * MIB}")) as answer:
                await answer.content.read(1000)
                answer.close()
            try:
                await client.post(stage.url("thor", "/upload?left"), data=stuck(), timeout=ClientTimeout(total=0.2))
            except asyncio.TimeoutError:
                pass
        async with client.get(stage.url("thor", "/bytes/10")) as answer:
            equal(await answer.read(), pattern.whole(10))
    stage.logged(path="/upload?left", error="client_gone")
