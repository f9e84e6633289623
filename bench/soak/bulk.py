#!/usr/bin/env python3
"""The app of the large bodies and of the events: blocking sockets and threads, so that it is never what is waited for.

    bulk.py        prints the port that it listens on, and serves until it is killed

`GET /length/N` and `GET /chunked/N` give N bytes; `PUT` takes a body and answers whether it was the right one;
`GET /events/N/MS` gives N events, one in MS milliseconds, each with the time at which it was written.
"""

import socket
import sys
import threading
import time

sys.dont_write_bytecode = True

from wire import BLOCK

PIECE = BLOCK * 16
# Twice, so that a piece of it can begin anywhere.
SOURCE = memoryview(PIECE + PIECE)


class Comparison:
    """Whether bytes are the ones that are due, wherever they are cut."""

    def __init__(self) -> None:
        self.bytes, self.right = 0, True

    def take(self, data: bytes) -> None:
        for start in range(0, len(data), len(PIECE)):
            part = data[start : start + len(PIECE)]
            place = self.bytes % len(PIECE)
            self.right &= part == bytes(SOURCE[place : place + len(part)])
            self.bytes += len(part)


def pieces(size: int):
    whole, rest = divmod(size, len(PIECE))
    for _ in range(whole):
        yield SOURCE[: len(PIECE)]
    if rest:
        yield SOURCE[:rest]


def send_body(connection: socket.socket, size: int, chunked: bool) -> None:
    for piece in pieces(size):
        if chunked:
            connection.sendall(b"%x\r\n" % len(piece))
        connection.sendall(piece)
        if chunked:
            connection.sendall(b"\r\n")
    if chunked:
        connection.sendall(b"0\r\n\r\n")


def read_body(stream, fields: dict[str, str]) -> Comparison:
    """`stream` is the connection's buffered reader."""
    got = Comparison()
    if fields.get("transfer-encoding") == "chunked":
        while size := int(stream.readline(), 16):
            read_exactly(stream, size, got)
            stream.readline()
        stream.readline()
    else:
        read_exactly(stream, int(fields["content-length"]), got)
    return got


def read_exactly(stream, size: int, got: Comparison) -> None:
    while size:
        data = stream.read(min(size, 1 << 18))
        if not data:
            raise EOFError(f"{size} bytes short")
        got.take(data)
        size -= len(data)


def read_head(stream) -> tuple[str, dict[str, str]]:
    first, fields = stream.readline().decode(), {}
    while line := stream.readline().strip().decode():
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return first, fields


def serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, connection.makefile("rb", buffering=1 << 18) as stream:
        while True:
            first, fields = read_head(stream)
            if not first:
                return
            method, path, _ = first.split(" ")
            what, *numbers = path.strip("/").split("/")
            if method == "PUT":
                got = read_body(stream, fields)
                say = f"{got.bytes} {got.right}".encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(say) + say)
            elif what == "events":
                events(connection, int(numbers[0]), float(numbers[1]) / 1000)
            else:
                framing = "Transfer-Encoding: chunked" if what == "chunked" else f"Content-Length: {numbers[0]}"
                connection.sendall(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
                send_body(connection, int(numbers[0]), what == "chunked")


def events(connection: socket.socket, count: int, every_s: float) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(count):
        time.sleep(every_s)
        # Fixed in length, so that the chunk's size needs no thought once the clock was read.
        connection.sendall(b"1c\r\ndata: %020d\n\n\r\n" % time.monotonic_ns())
    connection.sendall(b"0\r\n\r\n")


def attend(connection: socket.socket) -> None:
    try:
        serve(connection)
    except (OSError, EOFError, ValueError) as error:
        print(f"bulk: {error!r}", file=sys.stderr)


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=attend, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
