"""Just enough HTTP/1.1 and WebSocket, over asyncio's streams, for both ends of the soak.

Owns framing; it knows nothing of who is asked or why.
"""

import asyncio
import os
import socket
import struct
from dataclasses import dataclass, field

HEAD_BYTES_MAX = 1 << 20
# What all bodies are cut from: which byte is where can be told from its place alone.
BLOCK = bytes((place * 7 + place // 251) % 256 for place in range(65_536))


def body(size: int) -> bytes:
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


@dataclass
class Head:
    first: str
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return int(self.first.split(" ", 2)[1])

    def says(self, name: str, token: str) -> bool:
        return token in self.fields.get(name, "").lower()


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Raises IncompleteReadError at the end of the connection."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines[1:] if line)
    return Head(lines[0], {name.lower(): value.strip() for name, _, value in fields})


async def read_body(reader: asyncio.StreamReader, head: Head, empty: bool = False) -> bytes:
    if empty or head.first.startswith("HTTP/1.1 204"):
        return b""
    if not head.says("transfer-encoding", "chunked"):
        return await reader.readexactly(int(head.fields.get("content-length", 0)))
    pieces = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readline() not in (b"\r\n", b""):
        pass
    return b"".join(pieces)


class Client:
    """One connection to the edge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, receive_bytes: int | None = None) -> "Client":
        wire = socket.socket()
        try:
            wire.setblocking(False)
            if receive_bytes:
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            await asyncio.get_running_loop().sock_connect(wire, ("127.0.0.1", port))
            return cls(*await asyncio.open_connection(sock=wire, limit=receive_bytes or HEAD_BYTES_MAX))
        except BaseException:
            wire.close()
            raise

    async def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def ask(self, method: str, host: str, target: str, fields: str = "", body: bytes = b"") -> None:
        await self.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode() + body)

    async def answer(self, empty: bool = False) -> tuple[Head, bytes]:
        """The next answer that is final."""
        while 100 <= (head := await read_head(self.reader)).status < 200 and head.status != 101:
            pass
        return head, await read_body(self.reader, head, empty or head.status == 101)

    def reset(self) -> None:
        """Ends the connection so that the other side sees an error."""
        wire = self.writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.transport.abort()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
ACCEPTED = (
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
TEXT, CLOSE = 1, 8


def frame(opcode: int, data: bytes, masked: bool) -> bytes:
    """RFC 6455 §5.2, of up to 64 KiB."""
    mask = os.urandom(4) if masked else b""
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
    head = bytes([0x80 | opcode, size[0] | (0x80 if masked else 0)]) + size[1:] + mask
    return head + (bytes(byte ^ mask[place % 4] for place, byte in enumerate(data)) if masked else data)


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", await reader.readexactly(2))
    mask = await reader.readexactly(4) if second & 0x80 else b"\0\0\0\0"
    data = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
