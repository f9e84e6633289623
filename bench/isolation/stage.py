"""The processes of one measurement: the two tenants' apps, the edge, the flood and the probe.

It owns where each of them runs. Each measurement has all of them anew, so that nothing that one flood has left behind,
in the edge's memory or in an app's connections, is counted with the next.
"""

import json
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import machine
from edge import PROJECT, Edge, Setting, host
from edges import EDGES

PROGRAMS = PROJECT / "target/bench/release"
EDGE_CORES = {1: "0", 2: "0,1"}
LOAD_CORE = "1"
THOR = host(0)
# What each edge's configuration is called, as bench/cost writes it.
FILES = {"hostler": "proxy.toml", "nginx": "nginx.conf", "haproxy": "haproxy.cfg", "caddy": "Caddyfile"}
# Of HAProxy's to one tenant's app, further requests wait: without it, it has no bound for a tenant.
HAPROXY_MAXCONN = 64
POTTER_MS = 2
RATE = 100
FRESH_EVERY = 10
# How often it is looked at what an edge has resident.
SAMPLE_S = 0.5


@dataclass(frozen=True)
class Priority:
    title: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """How an edge is set up."""

    files: Path
    binary: Path
    workers: int = 1
    tenants: int = 2
    # Of hostler: what thor's route says besides, and the port of its admin listener.
    thor: str = ""
    admin: int = 0


@dataclass
class Stage:
    edge: Edge
    port: int
    # Where thor's app listens.
    app: int
    # Its host.
    potter: str

    def memory_kib(self) -> int:
        assert self.edge.process
        return machine.resident_kib(self.edge.process.pid)


def first_on_both_cores(pid: int) -> None:
    """An edge on both cores shares one with the flood, which is to take no time from it: before that, and behind the probe."""
    if priority().command[0] == "chrt":
        subprocess.run(["chrt", "-a", "-r", "-p", "40", str(pid)], check=True)


@cache
def priority() -> Priority:
    """The flood shares a core with the probe and with potter's app, and is not to take its time from them."""
    real_time = ("chrt", "-r", "50")
    if subprocess.run([*real_time, "true"], capture_output=True).returncode == 0:
        return Priority("real-time priority (chrt -r 50)", real_time)
    return Priority("nice -20, as this machine permits no real-time priority", ("nice", "-n", "-20"))


@contextmanager
def staged(name: str, wanted: Wanted) -> Iterator[Stage]:
    """An edge that serves both tenants. All of it has ended afterwards."""
    edge = replace(EDGES[name])
    apps: list[subprocess.Popen[bytes]] = []
    files = wanted.files / f"{name}-{time.monotonic_ns()}"
    try:
        thor = app(apps, [PROGRAMS / "bench-app"])
        potter = app(apps, [*priority().command, PROGRAMS / "bench-late", str(POTTER_MS)])
        edge.command = lambda setting: command(name, setting, potter, wanted)
        setting = Setting(files, thor, machine.free_port(), wanted.workers, wanted.tenants, binary=wanted.binary)
        if edge.start(setting, EDGE_CORES[wanted.workers]) is None or machine.get(setting.port, THOR) != 200:
            raise RuntimeError(f"{name} does not serve: {(files / 'err').read_text()}")
        if wanted.workers > 1 and edge.process:
            first_on_both_cores(edge.process.pid)
        yield Stage(edge, setting.port, thor, host(wanted.tenants - 1))
    finally:
        edge.stop()
        for one in apps:
            machine.end(one)
        shutil.rmtree(files, ignore_errors=True)  # nginx has bodies there, gigabytes of them


def app(started: list[subprocess.Popen[bytes]], program: list[str | Path]) -> int:
    """The port on which it listens."""
    process = machine.start(program, LOAD_CORE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    started.append(process)
    assert process.stdout
    return int(process.stdout.readline())


def command(name: str, setting: Setting, potter: int, wanted: Wanted) -> list[str | Path]:
    """As in bench/cost, where all tenants have one app. Here the last one, potter, has its own."""
    serves = EDGES[name].command(setting)
    path = setting.files / FILES[name]
    thors = f"127.0.0.1:{setting.app}"
    before, found, after = path.read_text().rpartition(thors)
    assert found
    text = f"{before}127.0.0.1:{potter}{after}"
    if name == "haproxy":
        text = re.sub(r"^(  server .*)$", rf"\1 maxconn {HAPROXY_MAXCONN}", text, flags=re.MULTILINE)
    if name == "hostler":
        text = text.replace('admin.listen = "127.0.0.1:0"', f'admin.listen = "127.0.0.1:{wanted.admin}"')
        text = text.replace(f'upstream = "http://{thors}"\n', f'upstream = "http://{thors}"\n{wanted.thor}', 1)
    path.write_text(text)
    return serves


@contextmanager
def flooded(kind: str, clients: int, port: int, within_s: float) -> Iterator[dict[str, Any]]:
    """All clients of a flood are there. What it did is in the dictionary afterwards; by itself it ends `within_s`."""
    program = [PROGRAMS / "bench-flood", kind, str(port), THOR, str(clients), str(within_s)]
    process = machine.start(program, LOAD_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    did: dict[str, Any] = {}
    try:
        assert process.stdin and process.stdout
        ready, _, _ = select.select([process.stdout], [], [], 10)
        if not ready or process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the flood of {kind} does not begin")
        yield did
        out, _ = process.communicate(timeout=30)  # the end of its input is the flood's
        did |= json.loads(out)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Where it has ended by itself, its id may be somebody else's by now."""
    if process.poll() is None:
        machine.end(process)


class Probe:
    """Asks a host, beside whatever else happens, until its time is over."""

    def __init__(self, port: int, name: str, seconds: float, path: str = "/small", rate: int = RATE, fresh_every: int = FRESH_EVERY):
        asks = [str(port), name, path, str(rate), str(seconds), str(fresh_every)]
        self.within_s = seconds + 30
        self.process = machine.start([*priority().command, PROGRAMS / "bench-probe", *asks], LOAD_CORE, stdout=subprocess.PIPE)

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)

    def seen(self) -> dict[str, Any]:
        out, _ = self.process.communicate(timeout=self.within_s)
        return json.loads(out)


@contextmanager
def peak_of(stage: Stage) -> Iterator[list[int]]:
    """KiB as sampled meanwhile, at the beginning and at the end too."""
    seen = [stage.memory_kib()]
    with machine.meanwhile(SAMPLE_S, lambda: seen.append(stage.memory_kib())):
        yield seen
    seen.append(stage.memory_kib())
