"""Clients that ask at a steady rate, whatever becomes of their answers.

Owns the sockets to the edges and what came of each request. They are opened in the network namespace of a container of
ours, never in this machine's own. It never tries a request again, and it never slows down because answers are late:
what a person would have noticed is what is counted.
"""

import asyncio
import ctypes
import gc
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

TENANTS = ("thor", "potter")
# Longer than an edge may hold a request.
ANSWER_S = 15.0
# What is measured is how long the edges take, not how long the clients wait for a processor.
NICE = -10
CLONE_NEWNET = 0x40000000

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Target:
    """One tenant at one edge."""

    edge: str
    tenant: str
    address: str
    port: int


@dataclass(frozen=True)
class Kind:
    """How one request is made."""

    method: str
    keep_alive: bool


# Half on new connections and half on kept ones, of either half every other one a POST.
MIXED = tuple(Kind(method, keep) for method in ("GET", "POST") for keep in (False, True))
GETS = (Kind("GET", False), Kind("GET", True))


@dataclass(frozen=True)
class Outcome:
    """What one request came to. `status` is 0 where no answer was read; then `error` says why."""

    edge: str
    tenant: str
    path: str
    kind: Kind
    began: float
    took_s: float
    status: int
    answered_by: str | None
    container: str | None
    error: str | None

    @property
    def ended(self) -> float:
        return self.began + self.took_s

    @property
    def wrong(self) -> bool:
        return self.answered_by is not None and self.answered_by != self.tenant

    @property
    def good(self) -> bool:
        return self.status == 200 and self.answered_by == self.tenant

    @property
    def failed(self) -> bool:
        return not self.good and not self.wrong


class Load:
    """Asks every target `rate` times a second, from a thread of its own."""

    def __init__(self, targets: list[Target], rate: int, kinds: tuple[Kind, ...], namespace: Path) -> None:
        self.targets = targets
        self.rate = rate
        self.kinds = kinds
        self.outcomes: list[Outcome] = []
        self._namespace = namespace
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._failure: Exception | None = None

    @contextmanager
    def running(self, files: Path) -> Iterator["Load"]:
        """At the end every request that was begun has its outcome, and its line in `files`."""
        gc.disable()  # its pauses would look like those of an edge
        self._thread.start()
        try:
            yield self
            self._ended.set()
            self._thread.join(ANSWER_S * 2)
        finally:
            self._ended.set()
            gc.enable()
            lines = (json.dumps(asdict(outcome)) + "\n" for outcome in list(self.outcomes))
            (files / "outcomes").write_text("".join(lines))
        if self._failure:
            raise self._failure  # clients that went home early have seen no failure either

    def _work(self) -> None:
        try:
            enter(self._namespace)
            os.setpriority(os.PRIO_PROCESS, 0, NICE)  # of this thread alone
            asyncio.run(self._run())
        except Exception as failure:
            self._failure = failure

    async def _run(self) -> None:
        # Each begins a little later than the one before, so that they don't all ask at the same instants.
        start = time.monotonic()
        apart = 1 / self.rate / len(self.targets)
        async with asyncio.TaskGroup() as group:
            for place, target in enumerate(self.targets):
                group.create_task(self._ask_steadily(Clients(target), start + place * apart))

    async def _ask_steadily(self, clients: "Clients", start: float) -> None:
        number = 0
        async with asyncio.TaskGroup() as group:
            while not self._ended.is_set():
                await asyncio.sleep(start + number / self.rate - time.monotonic())
                group.create_task(self._ask(clients, number))
                number += 1
        clients.close()

    async def _ask(self, clients: "Clients", number: int) -> None:
        kind = self.kinds[number % len(self.kinds)]
        self.outcomes.append(await clients.outcome(kind, number))


def enter(namespace: Path) -> None:
    """Takes the calling thread into a network namespace, for good."""
    with open(namespace, "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"entering {namespace}")


class Clients:
    """Those of one target, with the connections that they keep."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._idle: list[Connection] = []

    async def outcome(self, kind: Kind, number: int) -> Outcome:
        began = time.time()
        started = time.monotonic()
        path = f"/{self.target.edge}/{self.target.tenant}/{number}"
        status, answer, error = 0, {}, None
        try:
            async with asyncio.timeout(ANSWER_S):
                status, body = await self._exchange(kind, path)
            if status == 200:
                answer = json.loads(body)
                if answer["path"] != path:
                    answer["tenant"] += ", to another request"
        except (OSError, EOFError, TimeoutError, ValueError, KeyError) as failure:
            status, error = 0, type(failure).__name__
        return Outcome(
            edge=self.target.edge,
            tenant=self.target.tenant,
            path=path,
            kind=kind,
            began=began,
            took_s=time.monotonic() - started,
            status=status,
            answered_by=answer.get("tenant"),
            container=answer.get("container"),
            error=error,
        )

    async def _exchange(self, kind: Kind, path: str) -> tuple[int, bytes]:
        connection = await self._connection(kind)
        reader, writer = connection
        kept = False
        try:
            writer.write(self._request(kind, path))
            status, fields = parse(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.readexactly(int(fields["content-length"]))
            kept = kind.keep_alive and fields.get("connection", "").lower() != "close"
        finally:
            if not kept:
                writer.close()
        if kept:
            self._idle.append(connection)
        return status, body

    async def _connection(self, kind: Kind) -> Connection:
        while kind.keep_alive and self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self.target.address, self.target.port)

    def _request(self, kind: Kind, path: str) -> bytes:
        body = b"choice=1" if kind.method == "POST" else b""
        lines = [f"{kind.method} {path} HTTP/1.1", f"Host: {self.target.tenant}.polls.local"]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        if not kind.keep_alive:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


def parse(head: bytes) -> tuple[int, dict[str, str]]:
    """The status and the fields of a response's head, names in lower case.

    Raises ValueError for what is none, and for one that does not say how long its body is.
    """
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    pairs = (line.partition(":") for line in lines)
    fields = {name.lower(): value.strip() for name, _, value in pairs}
    if "content-length" not in fields:
        raise ValueError("a body of unknown length")
    return int(first.split()[1]), fields
