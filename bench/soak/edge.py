"""The edge under test and the apps behind it: processes of their own, with what can be seen of the edge from outside.

Owns its configuration, which has short time-outs, so that who outstays them is gone before a run ends.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
WAIT_S = 30

CONFIG = """\
listen = "127.0.0.1:0"
admin.listen = "127.0.0.1:0"
log.format = "json"

[limits]
connections = 4000
header_read = "3s"
keepalive = "4s"

[defaults]
hold = "500ms"
limits.body = "1TiB"
timeouts = {{ connect = "1s", response = "10s", idle = "5s", tunnel_idle = "5s" }}

[routes.thor]
hosts = "thor.test"
upstream = "http://127.0.0.1:{thor}"

[routes.potter]
hosts = "potter.test"
upstream = "http://127.0.0.1:{potter}"

[routes.loki]
hosts = "loki.test"
upstream = "http://127.0.0.1:{loki}"
timeouts.response = "2s"

[routes.gone]
hosts = "gone.test"
upstream = "http://127.0.0.1:{gone}"
"""


@dataclass(frozen=True)
class Sample:
    rss_kib: int
    descriptors: int
    threads: int


class Edge:
    def __init__(self, process: subprocess.Popen[bytes], files: Path, apps: dict[str, int]) -> None:
        self.process = process
        self.files = files
        self.apps = apps
        eventually("the edge serves", lambda: "serving" in self.messages())
        listening = [event for event in self.events() if event["message"] == "listening"]
        self.port = int(listening[0]["address"].rsplit(":", 1)[1])

    def alive(self) -> bool:
        return self.process.poll() is None

    def sample(self) -> Sample:
        """Ends the run when the edge has ended: there is nothing left to judge."""
        if not self.alive():
            sys.exit(f"the edge ended with {self.process.returncode}: {self.events()[-5:]}")
        proc = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        descriptors = len(os.listdir(proc / "fd"))
        return Sample(int(status["VmRSS"].split()[0]), descriptors, int(status["Threads"]))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def reload(self, more: str) -> None:
        """Saves the configuration with `more` at its end, and tells the edge."""
        self.save(CONFIG.format(**self.apps) + more)
        self.process.send_signal(signal.SIGHUP)

    def save(self, config: str) -> None:
        new = self.files / "proxy.new"
        new.write_text(config)
        new.rename(self.files / "proxy.toml")

    def events(self) -> list[dict[str, Any]]:
        """What it said on standard error; what isn't JSON, a panic for one, as a message."""
        lines = (self.files / "events").read_text(errors="replace").splitlines()
        return [parsed(line) for line in lines]

    def messages(self) -> list[str]:
        assert self.alive(), f"the edge ended: {self.events()}"
        return [event["message"] for event in self.events()]

    def access(self) -> Iterator[dict[str, Any]]:
        with (self.files / "access").open(errors="replace") as lines:
            yield from (parsed(line) for line in lines)


def parsed(line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError:
        return {"message": line, "level": "NOT JSON"}


@contextmanager
def started(binary: Path, files: Path, tenants: tuple[str, ...] = ("thor", "potter", "loki")) -> Iterator[Edge]:
    """The edge with an app a tenant, and one tenant whose app is away."""
    files.mkdir(parents=True)
    with ExitStack() as stack:
        apps = {tenant: stack.enter_context(listening(["app.py"])) for tenant in tenants}
        edge = stack.enter_context(serving(binary, files, CONFIG, {**dict.fromkeys(("thor", "potter", "loki"), 1), **apps}))
        yield edge


@contextmanager
def serving(binary: Path, files: Path, config: str, apps: dict[str, int]) -> Iterator[Edge]:
    # A port that nobody listens on, for as long as this socket is there.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        apps = {**apps, "gone": nobody.getsockname()[1]}
        (files / "proxy.toml").write_text(config.format(**apps))
        with (files / "access").open("wb") as access, (files / "events").open("wb") as events:
            command = [binary, "run", "--config", files / "proxy.toml"]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=access, stderr=events)
        try:
            yield Edge(process, files, apps)
        finally:
            end(process)


@contextmanager
def listening(command: list[str]) -> Iterator[int]:
    """A program of ours that says on its first line where it listens."""
    process = subprocess.Popen([sys.executable, HERE / command[0], *command[1:]], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def eventually(what: str, happens: Callable[[], bool], within_s: float = WAIT_S) -> None:
    until = time.monotonic() + within_s
    while not happens():
        if time.monotonic() > until:
            raise AssertionError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.05)
