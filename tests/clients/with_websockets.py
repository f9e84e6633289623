"""The library `websockets`, as it waits and as it doesn't."""

import asyncio

import pattern
from checks import check, equal
from stage import Stage
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync import client as sync

MIB = 1 << 20


def url(stage: Stage, path: str = "/ws") -> str:
    return stage.url("thor", path, "ws")


@check("says something and hears it")
async def echo(stage: Stage) -> None:
    async with connect(url(stage), origin=stage.url("thor", "")) as socket:
        for message in ("hello", "", "ä" * 1000, b"", b"\x00\xff" * 1000):
            await socket.send(message)
            equal(await socket.recv(), message)


@check("without asyncio")
def synchronous(stage: Stage) -> None:
    with sync.connect(url(stage)) as socket:
        for number in range(100):
            socket.send(str(number))
            equal(socket.recv(timeout=5), str(number))


@check("a protocol is agreed on")
async def protocol(stage: Stage) -> None:
    async with connect(url(stage), subprotocols=["chat", "echo", "echo.v2"]) as socket:
        equal(socket.subprotocol in ("echo", "echo.v2"), True, "it")


@check("pings are answered by the app")
async def pings(stage: Stage) -> None:
    async with connect(url(stage), ping_interval=0.1) as socket:
        for _ in range(20):
            await asyncio.wait_for(await socket.ping(), 5)
        await asyncio.sleep(0.5)
        await socket.send("still here")
        equal(await socket.recv(), "still here")
        equal(socket.latency > 0, True, "a latency")


@check("close codes: the app's reach the client")
async def app_closes(stage: Stage) -> None:
    for code in (1000, 1001, 1011, 4001):
        async with connect(url(stage)) as socket:
            await socket.send(f"close {code}")
            try:
                await socket.recv()
            except ConnectionClosed as closed:
                assert closed.rcvd is not None
                equal((closed.rcvd.code, closed.rcvd.reason), (code, "as you say"))
            else:
                raise AssertionError("it goes on")


@check("close codes: the client's reach the app")
async def client_closes(stage: Stage) -> None:
    for code in (1000, 3000, 4999):
        socket = await connect(url(stage))
        await socket.close(code, "enough")
        async with connect(url(stage)) as other:
            for _ in range(200):
                await other.send("closed")
                if (heard := await other.recv()) == str(code):
                    break
                await asyncio.sleep(0.02)
            equal(heard, str(code), "what the app saw")


@check("a client that vanishes is gone for the app as well")
async def vanishes(stage: Stage) -> None:
    socket = await connect(url(stage))
    await socket.send("x")
    await socket.recv()
    socket.transport.abort()
    async with connect(url(stage)) as other:
        for _ in range(200):
            await other.send("closed")
            if (heard := await other.recv()) == "1006":
                break
            await asyncio.sleep(0.02)
        equal(heard, "1006", "what the app saw")


@check("large messages, whole and in pieces, compressed and not")
async def large(stage: Stage) -> None:
    body = pattern.whole(8 * MIB)
    for compression in ("deflate", None):
        async with connect(url(stage), max_size=None, compression=compression) as socket:
            await socket.send(body)
            equal(pattern.digest_of(await socket.recv()), pattern.digest(8 * MIB), str(compression))
            await socket.send(pattern.pieces(MIB, 50_021))
            equal(pattern.digest_of(await socket.recv()), pattern.digest(MIB), "in pieces")


@check("messages cross: a thousand out before the first is read")
async def crossing(stage: Stage) -> None:
    async with connect(url(stage), max_queue=None) as socket:

        async def say() -> None:
            for number in range(1000):
                await socket.send(f"{number}:{'x' * 1000}")

        saying = asyncio.create_task(say())
        for number in range(1000):
            equal((await socket.recv()).split(":")[0], str(number))
        await saying


@check("two idle seconds, and it goes on")
async def idle(stage: Stage) -> None:
    async with connect(url(stage), ping_interval=None) as socket:
        for number in range(2):
            await socket.send(str(number))
            equal(await socket.recv(), str(number))
            await asyncio.sleep(2)
        await socket.send("after all")
        equal(await socket.recv(), "after all")


@check("outlives a reload that changes its own route")
async def reload(stage: Stage) -> None:
    async with connect(url(stage)) as socket:
        more = '\n[routes.ron]\nhosts = ["ron.polls.test"]\nupstream = "http://127.0.0.1:9"\n'
        more += "\n[defaults]\ntimeouts.response = \"50s\"\n"
        await asyncio.to_thread(stage.reload, more)
        await socket.send("still here")
        equal(await socket.recv(), "still here")
        await asyncio.to_thread(stage.reload, "")
        await socket.send("still here")
        equal(await socket.recv(), "still here")


@check("who is refused is told so: by the app, by its path, by the edge")
async def refused(stage: Stage) -> None:
    for asked, status in ((url(stage, "/ws-refused"), 403), (url(stage, "/nothing"), 404), (stage.url("ron", "/ws", "ws"), 404)):
        try:
            await connect(asked)
        except InvalidStatus as answer:
            equal(answer.response.status_code, status, asked)
        else:
            raise AssertionError(f"{asked} is open")


@check("a hundred at once")
async def at_once(stage: Stage) -> None:
    async def one(number: int) -> None:
        async with connect(url(stage)) as socket:
            for turn in range(3):
                await socket.send(f"{number} {turn}")
                equal(await socket.recv(), f"{number} {turn}")

    await asyncio.gather(*(one(number) for number in range(100)))
