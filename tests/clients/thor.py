"""The app of the tenant thor: aiohttp's server. It prints the port that it listens on, and serves until it is killed."""

import asyncio
import gzip
import hashlib
import logging
import sys
import tempfile
from pathlib import Path

from aiohttp import WSMsgType, web

sys.dont_write_bytecode = True

import pattern

BODY_BYTES_MAX = 1 << 30
routes = web.RouteTableDef()


@routes.route("*", "/echo{rest:.*}")
async def echo(request: web.Request) -> web.Response:
    """What reached the app."""
    body = await request.read()
    return web.json_response(
        {
            "tenant": "thor",
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": body.decode("latin-1"),
        }
    )


@routes.get("/bytes/{size}")
async def sized(request: web.Request) -> web.StreamResponse:
    size = int(request.match_info["size"])
    response = web.StreamResponse()
    response.content_length = size
    return await _send(request, response, size)


@routes.get("/chunked/{size}")
async def chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    return await _send(request, response, int(request.match_info["size"]))


async def _send(request: web.Request, response: web.StreamResponse, size: int) -> web.StreamResponse:
    response.content_type = "application/octet-stream"
    await response.prepare(request)
    if request.method != "HEAD":
        for piece in pattern.pieces(size):
            await response.write(piece)
    await response.write_eof()
    return response


async def refuse_large(request: web.Request) -> web.Response | None:
    """Answers who asks before sending: no to those who say so in a header, else 100."""
    if request.headers.get("X-Refuse"):
        return web.Response(status=413, text="too large", headers={"Connection": "close"})
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return None


async def upload(request: web.Request) -> web.Response:
    """Reads all of it, and says what it was."""
    sha, size = hashlib.sha256(), 0
    async for piece in request.content.iter_chunked(65_536):
        sha.update(piece)
        size += len(piece)
    names = ("Content-Length", "Transfer-Encoding", "Expect", "Content-Type", "Content-Encoding")
    sent = {name.lower(): request.headers.get(name) for name in names}
    return web.json_response({"method": request.method, "size": size, "sha256": sha.hexdigest(), **sent})


@routes.post("/form")
async def form(request: web.Request) -> web.Response:
    """A form with files, or a plain one: its fields as they came."""
    fields = {}
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            value = f"{value.filename}:{pattern.digest_of(value.file.read())}"
        fields[name] = value
    return web.json_response(fields)


@routes.get("/sse/{events}")
async def sse(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    for number in range(int(request.match_info["events"])):
        await response.write(f"id: {number}\ndata: event {number}\n\n".encode())
        await asyncio.sleep(0.1)
    return response


@routes.get("/ws")
async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Says everything back; `close N` closes with that code, `closed` says with which code the last client closed."""
    socket = web.WebSocketResponse(protocols=("echo.v2", "echo"), max_msg_size=64 << 20)
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type == WSMsgType.TEXT and message.data.startswith("close "):
            await socket.close(code=int(message.data[6:]), message=b"as you say")
        elif message.type == WSMsgType.TEXT and message.data == "closed":
            await socket.send_str(str(request.app["closed"][-1] if request.app["closed"] else None))
        elif message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
    request.app["closed"].append(socket.close_code)
    return socket


@routes.get("/ws-greeting")
async def greeting(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str("hello")
    await socket.close()
    return socket


@routes.get("/ws-refused")
async def refused(_request: web.Request) -> web.Response:
    return web.Response(status=403, text="not you")


@routes.get("/file")
async def file(request: web.Request) -> web.FileResponse:
    """1 MiB of a file, with ranges, ETag and Last-Modified."""
    return web.FileResponse(request.app["file"])


@routes.get("/status/{status}")
async def status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["status"]))


@routes.get("/gzip")
async def gzipped(request: web.Request) -> web.Response:
    headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return web.Response(body=gzip.compress(pattern.whole(100_000)), headers=headers)


@routes.get("/slow/{milliseconds}")
async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(int(request.match_info["milliseconds"]) / 1000)
    return web.Response(text="at last")


@routes.route("*", "/login")
async def login(_request: web.Request) -> web.Response:
    """Two cookies and the way on, as a browser gets them from Django."""
    response = web.Response(status=302, headers={"Location": "/me"})
    response.set_cookie("session", "s3cr3t", httponly=True, samesite="Lax")
    response.set_cookie("theme", "dark, mostly")
    return response


@routes.get("/me")
async def me(request: web.Request) -> web.Response:
    return web.json_response(dict(request.cookies))


@routes.route("*", "/redirect/{status}")
async def redirect(request: web.Request) -> web.Response:
    """To another path of this host, by its full address as the client knows it."""
    location = f"http://{request.host}/echo/after"
    return web.Response(status=int(request.match_info["status"]), headers={"Location": location})


def is_of_interest(record: logging.LogRecord) -> bool:
    """Clients that leave in the middle are a part of the checks."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConnectionError))


async def serve() -> None:
    logging.getLogger("aiohttp.server").addFilter(is_of_interest)
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app["closed"] = []
    app.add_routes(routes)
    for method in ("PUT", "POST", "PATCH"):
        app.router.add_route(method, "/upload", upload, expect_handler=refuse_large)
    with tempfile.TemporaryDirectory() as directory:
        app["file"] = Path(directory) / "file.bin"
        app["file"].write_bytes(pattern.whole(1 << 20))
        # Longer than what any check waits: it isn't the app that closes what the edge keeps.
        runner = web.AppRunner(app, keepalive_timeout=75, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
