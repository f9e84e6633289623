"""Whom the page asks: a real edge with 10,000 tenants and an app, or the mock in its place.

Owns those processes, and the edge's proxy.toml. Both can be ended, started again where they were, and halted.
"""

import http.client
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WAIT_S = 30
TENANTS = 10_000
# Of those that are there by name in both: one that answers, and one that can't be reached.
BUSY, GONE = "thor", "gone"
MISTAKE = "<img src=x onerror=document.title=1>"

CONFIG = """\
listen = "127.0.0.1:0"
admin.listen = "127.0.0.1:{admin}"
log = {{ format = "json", access = false }}
# Fewer than by default, which not everybody's descriptors suffice for.
limits.connections = 1000

[defaults]
hold = "0s"
timeouts.connect = "1s"

[routes.thor]
hosts = ["thor.localhost", "www.thor.localhost"]
upstream = "http://127.0.0.1:{app}"
limits = {{ requests = 64, queue = 100, rate = "10000/s" }}

[routes.potter]
hosts = "potter.localhost"
upstream = "http://127.0.0.1:{app}"

[routes.sick]
hosts = "sick.localhost"
upstream = "http://127.0.0.1:{app}"
health = {{ path = "/sick", interval = "500ms", unhealthy = 1 }}

[routes.gone]
hosts = "gone.localhost"
upstream = "unix:{directory}/nobody.sock"
"""


class Stage:
    """What a check may do to whom the page asks."""

    name = ""
    port = 0
    process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Where it was before, if it was."""
        raise NotImplementedError

    def mistake(self) -> None:
        """A configuration that can't be served is saved; what is said of it has MISTAKE in it."""
        raise NotImplementedError

    def mend(self) -> None:
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def end(self) -> None:
        if self.process:
            self.process.kill()  # which ends one that is halted too
            self.process.wait()
            self.process = None

    def halt(self) -> None:
        """It is there and answers nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, what: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(what)


class Mock(Stage):
    name = "the mock"

    def start(self) -> None:
        command = [sys.executable, HERE / "mock.py", str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the mock does not start")
        self.port = int(line)

    def mistake(self) -> None:
        self._say(f"error: unknown key `{MISTAKE}`\n --> proxy.toml:3:1\n")

    def mend(self) -> None:
        self._say("")

    def _say(self, text: str) -> None:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        client.request("POST", "/mistake", text)
        if client.getresponse().status != 200:
            raise AssertionError("the mock takes no mistake")
        client.close()


class Edge(Stage):
    name = "the edge"

    def __init__(self, binary: Path, directory: Path, app: int) -> None:
        self.binary = binary
        self.directory = directory
        self.app = app
        self.public = 0
        self.events: list[dict[str, Any]] = []
        self.noise: list[str] = []

    def start(self) -> None:
        self._save()
        self.events, self.noise = [], []
        command = [self.binary, "run", "--config", self.directory / "proxy.toml"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._gather, args=(self.process.stderr, self.events, self.noise), daemon=True).start()
        self._until("the edge serves", lambda: self._said("serving"))
        self.port = port_of(self._said("admin listening"))
        self.public = port_of(self._said("listening"))

    @staticmethod
    def _gather(stream: Any, events: list[dict[str, Any]], noise: list[str]) -> None:
        for line in stream:
            try:
                events.append(json.loads(line))
            except ValueError:
                noise.append(line.rstrip())

    def _said(self, message: str) -> dict[str, Any] | None:
        return next((event for event in list(self.events) if event["message"] == message), None)

    def _until(self, what: str, happens: Callable[[], Any]) -> None:
        def happened() -> Any:
            if self.process is None or self.process.poll() is not None:
                raise AssertionError(f"the edge has ended: {self.noise} {self.events}")
            return happens()

        eventually(what, happened)

    def mistake(self) -> None:
        self._save(f"'{MISTAKE}' = 1\n")
        self._signal(signal.SIGHUP)

    def mend(self) -> None:
        self._save()
        self._signal(signal.SIGHUP)

    def _save(self, before: str = "") -> None:
        text = before + CONFIG.format(directory=self.directory, admin=self.port, app=self.app)
        others = (
            f'[routes.blue-{n:04}]\nhosts = "blue-{n:04}.localhost"\nupstream = "http://127.0.0.1:{self.app}"\n'
            for n in range(text.count("[routes."), TENANTS)
        )
        new = self.directory / "proxy.new"
        new.write_text(text + "\n" + "".join(others))
        new.rename(self.directory / "proxy.toml")

    def ask(self, tenant: str) -> int:
        client = http.client.HTTPConnection("127.0.0.1", self.public, timeout=10)
        try:
            client.request("GET", "/", headers={"Host": f"{tenant}.localhost"})
            answer = client.getresponse()
            answer.read()
            return answer.status
        finally:
            client.close()

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Clients come all the time, as long as there is an edge."""
        over = threading.Event()

        def come() -> None:
            turn = 0
            while not over.wait(0.02):
                turn += 1
                try:
                    self.ask(BUSY)
                    if turn % 10 == 0:
                        self.ask("potter")
                        self.ask(GONE)
                        self.ask("sick")
                except (OSError, http.client.HTTPException):
                    pass  # it was ended, or is halted: this is not what is checked

        client = threading.Thread(target=come, daemon=True)
        client.start()
        try:
            yield
        finally:
            over.set()
            client.join(WAIT_S)


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status = 500 if self.path == "/sick" else 200
        self.send_response(status)
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_: Any) -> None:
        pass


def port_of(event: dict[str, Any] | None) -> int:
    assert event, "an address that is listened on was not told"
    return int(event["address"].rsplit(":", 1)[1])


def eventually(what: str, happens: Callable[[], Any]) -> Any:
    """Waits until that is true, and returns it."""
    until = time.monotonic() + WAIT_S
    while not (result := happens()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {WAIT_S} s: {what}")
        time.sleep(0.01)
    return result


@contextmanager
def mocked() -> Iterator[Stage]:
    stage = Mock()
    try:
        stage.start()
        yield stage
    finally:
        stage.end()


@contextmanager
def real(binary: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hostler-browser-edge.")))
        app = ThreadingHTTPServer(("127.0.0.1", 0), App)
        app.daemon_threads = True
        threading.Thread(target=app.serve_forever, daemon=True).start()
        stack.callback(app.shutdown)
        edge = Edge(binary, directory, app.server_port)
        stack.callback(edge.end)
        edge.start()
        stack.enter_context(edge.asked())
        yield edge
