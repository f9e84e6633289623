"""The edge with two tenants' apps behind it, each a process of its own on a port that the system picked.

Owns those processes and the edge's proxy.toml and log; it asks nothing of the edge over HTTP.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WAIT_S = 20

CONFIG = """\
listen = ["127.0.0.1:0", "unix:{directory}/edge.sock"]
admin.listen = "127.0.0.1:0"
log.format = "json"
# Fewer than by default, which not everybody's descriptors suffice for.
limits.connections = 1000

[routes.thor]
hosts = ["thor.localhost", "*.thor.localhost"]
upstream = "http://127.0.0.1:{thor}"

[routes.potter]
hosts = ["potter.localhost"]
upstream = "http://127.0.0.1:{potter}"
"""


class Stage:
    """A running edge. What it logs is gathered from its two outputs."""

    def __init__(self, directory: Path, ports: dict[str, int], process: subprocess.Popen[str]) -> None:
        self.directory = directory
        self.ports = ports
        self.process = process
        self.access: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.noise: list[str] = []
        for stream, lines in ((process.stdout, self.access), (process.stderr, self.events)):
            threading.Thread(target=self._gather, args=(stream, lines), daemon=True).start()
        eventually("the edge serves", lambda: any(event["message"] == "serving" for event in self._alive()))
        listening = [event["address"] for event in self.events if event["message"] == "listening"]
        self.port = next(int(address.rsplit(":", 1)[1]) for address in listening if address.startswith("127."))

    def _gather(self, stream: Any, lines: list[dict[str, Any]]) -> None:
        for line in stream:
            try:
                lines.append(json.loads(line))
            except ValueError:
                self.noise.append(line.rstrip())

    def _alive(self) -> list[dict[str, Any]]:
        if self.process.poll() is not None:
            raise AssertionError(f"the edge ended: {self.noise} {self.events}")
        return self.events

    def url(self, tenant: str, path: str, scheme: str = "http") -> str:
        return f"{scheme}://{tenant}.localhost:{self.port}{path}"

    @property
    def unix_socket(self) -> str:
        return f"{self.directory}/edge.sock"

    def config(self) -> str:
        return CONFIG.format(directory=self.directory, **self.ports)

    def reload(self, more: str) -> None:
        """Saves the configuration with `more` at its end, and waits until it is served."""
        before = len(self.events)
        save(self.directory, self.config() + more)
        self.process.send_signal(signal.SIGHUP)
        reloaded = "configuration reloaded"
        eventually(reloaded, lambda: any(event["message"] == reloaded for event in self._alive()[before:]))

    def logged(self, **values: Any) -> dict[str, Any]:
        """The first line of the access log with these values."""

        def find() -> dict[str, Any] | None:
            return next((line for line in list(self.access) if values.items() <= line.items()), None)

        return eventually(f"a line with {values}", find)


def save(directory: Path, config: str) -> None:
    new = directory / "proxy.new"
    new.write_text(config)
    new.rename(directory / "proxy.toml")


@contextmanager
def start(edge: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hostler-clients.")))
        ports = {app: stack.enter_context(_app(app)) for app in ("thor", "potter")}
        save(directory, CONFIG.format(directory=directory, **ports))
        process = subprocess.Popen(
            [edge, "run", "--config", directory / "proxy.toml"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, process)
        yield Stage(directory, ports, process)


@contextmanager
def _app(name: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, HERE / f"{name}.py"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def eventually(what: str, happens: Callable[[], Any]) -> Any:
    """Waits until that is true, and returns it."""
    until = time.monotonic() + WAIT_S
    while not (result := happens()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {WAIT_S} s: {what}")
        time.sleep(0.01)
    return result


def lead_localhost_here() -> None:
    """Lets Python resolve names below `.localhost` to this machine, as browsers and curl do by themselves, and keeps
    the clients from any proxy that the environment names."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if name and name.endswith(".localhost") else host, *arguments, **options)

    socket.getaddrinfo = getaddrinfo
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
