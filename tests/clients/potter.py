"""The app of the tenant potter: http.server of Python's own library, which writes its framing by hand.

It prints the port that it listens on, and serves until it is killed. What aiohttp's server can't say is said here:
trailers, interim answers, bodies that end with the connection, answers before the upload was read.
"""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.dont_write_bytecode = True

import pattern


class Potter(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answers = {
            "/trailers": self.trailers,
            "/until-close": self.until_close,
            "/goodbye": self.goodbye,
            "/hints": self.hints,
            "/cookies": self.cookies,
        }
        answers.get(path, self.echo)()

    do_HEAD = do_DELETE = do_OPTIONS = do_PURGE = do_GET

    def do_POST(self) -> None:
        if self.path == "/early":
            self.early()
        else:
            self.upload()

    do_PUT = do_PATCH = do_POST

    def echo(self) -> None:
        headers = [[name, value] for name, value in self.headers.items()]
        self.answer({"tenant": "potter", "method": self.command, "target": self.path, "headers": headers})

    def upload(self) -> None:
        sha, size = hashlib.sha256(), 0
        for piece in self.body():
            sha.update(piece)
            size += len(piece)
        sent = {name.lower(): self.headers[name] for name in ("Content-Length", "Transfer-Encoding", "Content-Encoding")}
        self.answer({"size": size, "sha256": sha.hexdigest(), **sent})

    def body(self):
        if self.headers["Transfer-Encoding"] == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
        else:
            left = int(self.headers["Content-Length"] or 0)
            while left and (piece := self.rfile.read(min(left, 65_536))):
                left -= len(piece)
                yield piece

    def trailers(self) -> None:
        """A digest that is known only once the body was written."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-Digest")
        self.end_headers()
        sha = hashlib.sha256()
        for piece in pattern.pieces(200_000):
            sha.update(piece)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(f"0\r\nX-Digest: {sha.hexdigest()}\r\n\r\n".encode())

    def until_close(self) -> None:
        """HTTP/1.0's way to end a body."""
        self.protocol_version = "HTTP/1.0"
        self.send_response(200)
        self.end_headers()
        for piece in pattern.pieces(300_000):
            self.wfile.write(piece)
        self.close_connection = True

    def goodbye(self) -> None:
        self.answer({"tenant": "potter"}, Connection="close")
        self.close_connection = True

    def hints(self) -> None:
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        self.answer({"tenant": "potter"})

    def cookies(self) -> None:
        self.send_response(200)
        for value in ("a=1; Path=/", "b=2; Expires=Wed, 09 Jun 2032 10:18:14 GMT", "c=3"):
            self.send_header("Set-Cookie", value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def early(self) -> None:
        """No, before a byte of the body was read."""
        self.send_response(413)
        self.send_header("Content-Length", "8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"too much")
        self.close_connection = True

    def answer(self, what: dict, **headers: str) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_arguments) -> None:
        """The edge has the log."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_arguments) -> None:
        """Clients that leave in the middle are a part of the checks."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Potter)
    print(server.server_address[1], flush=True)
    server.serve_forever()
