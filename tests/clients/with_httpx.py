"""httpx, as it waits and as it doesn't."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pattern
from checks import check, equal
from stage import Stage

TIMEOUT_S = 15
MIB = 1 << 20


def opened(connections: list[str]):
    """Notes each connection that the pool makes."""

    def trace(event: str, _info: dict) -> None:
        if event == "connection.connect_tcp.complete":
            connections.append(event)

    return {"trace": trace}


@check("a client keeps its connection, whatever is asked")
def keep_alive(stage: Stage) -> None:
    connections: list[str] = []
    with httpx.Client(timeout=TIMEOUT_S) as client:
        for path in ("/echo", "/chunked/70000", "/status/204", "/status/304", "/bytes/0", "/gzip") * 5:
            client.get(stage.url("thor", path), extensions=opened(connections))
            client.head(stage.url("thor", path), extensions=opened(connections))
    equal(len(connections), 1, "connections")


@check("cookies and redirects")
def browse(stage: Stage) -> None:
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=True) as client:
        answer = client.post(stage.url("thor", "/login"))
        equal((str(answer.url), answer.json()["session"]), (stage.url("thor", "/me"), "s3cr3t"))
        got = client.post(stage.url("thor", "/redirect/307"), content=b"body").json()
        equal((got["method"], got["body"]), ("POST", "body"))


@check("streams, both ways")
def streams(stage: Stage) -> None:
    with httpx.Client(timeout=TIMEOUT_S) as client:
        got = client.post(stage.url("thor", "/upload"), content=pattern.pieces(2 * MIB, 7001)).json()
        equal((got["sha256"], got["transfer-encoding"]), (pattern.digest(2 * MIB), "chunked"))
        with client.stream("GET", stage.url("thor", f"/chunked/{4 * MIB}")) as answer:
            equal(pattern.digest_of(b"".join(answer.iter_bytes())), pattern.digest(4 * MIB))


@check("an interim answer (103) is passed over")
def hints(stage: Stage) -> None:
    with httpx.Client(timeout=TIMEOUT_S) as client:
        for _ in range(3):
            equal(client.get(stage.url("potter", "/hints")).json()["tenant"], "potter")


@check("trailers don't disturb the next request")
def trailers(stage: Stage) -> None:
    connections: list[str] = []
    with httpx.Client(timeout=TIMEOUT_S, headers={"TE": "trailers", "Connection": "TE, keep-alive"}) as client:
        for _ in range(3):
            answer = client.get(stage.url("potter", "/trailers"), extensions=opened(connections))
            equal(pattern.digest_of(answer.content), pattern.digest(200_000))
    equal(len(connections), 1, "connections")


@check("async: events as they happen")
async def events(stage: Stage) -> None:
    times = []
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client, client.stream("GET", stage.url("thor", "/sse/6")) as answer:
        equal(answer.headers["Content-Type"], "text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                times.append(time.monotonic())
    equal(len(times), 6, "events")
    equal(times[-1] - times[0] > 0.3, True, "they come one by one")


@check("async: fifty at once, up and down")
async def at_once(stage: Stage) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for piece in pattern.pieces(size, 9001):
            yield piece

    async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=50)) as client:

        async def one(number: int) -> None:
            size = 1000 * number
            got = await client.post(stage.url("thor", f"/upload?{number}"), content=pieces(size))
            equal((got.json()["size"], got.json()["sha256"]), (size, pattern.digest(size)))
            got = await client.get(stage.url("thor", f"/bytes/{size}"))
            equal(pattern.digest_of(got.content), pattern.digest(size))

        await asyncio.gather(*(one(number) for number in range(100)))


@check("async: a stream that is left halfway")
async def halfway(stage: Stage) -> None:
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        for _ in range(5):
            async with client.stream("GET", stage.url("thor", f"/bytes/{20 * MIB}")) as answer:
                async for _piece in answer.aiter_bytes():
                    break
            equal((await client.get(stage.url("thor", "/bytes/10"))).content, pattern.whole(10))


@check("async: its own time-out is its own affair")
async def timeout(stage: Stage) -> None:
    async with httpx.AsyncClient() as client:
        try:
            await client.get(stage.url("thor", "/slow/5000?httpx"), timeout=0.3)
        except httpx.ReadTimeout:
            equal((await client.get(stage.url("thor", "/echo"), timeout=TIMEOUT_S)).json()["tenant"], "thor")
        else:
            raise AssertionError("it was answered")
