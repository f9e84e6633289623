"""Debian's chromium, driven over a pipe by the DevTools protocol, with nothing but the standard library.

Owns the browser's process and its profile. Whoever waits for something asks again and again until a deadline; what the
browser tells meanwhile is gathered while its answers are read, so that nothing of it needs a thread.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# For one answer of the browser, and for what a check waits for.
ANSWER_S = 30
WAIT_S = 20
END_S = 5
FLAGS = (
    "--headless", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run", "--no-proxy-server", "--disable-gpu",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-breakpad",
    "--lang=en",
)  # fmt: skip
# Chromium reads commands on the first and writes to the second.
READS_FD, WRITES_FD = 3, 4
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "/": (191, "/"), "Backspace": (8, "")}


class Failed(AssertionError):
    """What was expected of the page isn't so."""


class Browser:
    def __init__(self, directory: Path) -> None:
        program = shutil.which("chromium")
        if program is None:
            sys.exit("tests/browser needs Debian's chromium, and there is none: apt-get install --no-install-recommends chromium")
        self.log = directory / "chromium.log"
        # Above the two numbers that are chromium's, so that moving one end never closes another.
        theirs, self._writes = map(high, os.pipe())
        self._reads, theirs_too = map(high, os.pipe())
        self._pid = os.posix_spawn(
            program,
            [program, *FLAGS, f"--user-data-dir={directory / 'profile'}"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, theirs, READS_FD),
                (os.POSIX_SPAWN_DUP2, theirs_too, WRITES_FD),
            ],
            setsid=True,
        )
        os.close(theirs)
        os.close(theirs_too)
        self._number = 0
        self._read = b""
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, "Page"] = {}
        self.version = self.call("Browser.getVersion")["product"]

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        left = json.dumps(message).encode() + b"\0"
        try:
            while left:
                left = left[os.write(self._writes, left) :]
        except BrokenPipeError:
            raise self._gone() from None
        until = time.monotonic() + ANSWER_S
        while number not in self._answers:
            self._gather(until, method)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _gather(self, until: float, method: str) -> None:
        ready, _, _ = select.select([self._reads], [], [], max(until - time.monotonic(), 0))
        if not ready:
            raise Failed(f"chromium doesn't answer {method} within {ANSWER_S} s")
        piece = os.read(self._reads, 1 << 20)
        if not piece:
            raise self._gone()
        *messages, self._read = (self._read + piece).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            elif page := self._pages.get(message.get("sessionId", "")):
                page.told(message["method"], message["params"])

    def _gone(self) -> Failed:
        return Failed(f"chromium has ended: {self.log.read_text(errors='replace')[-2000:]}")

    @contextmanager
    def page(self, url: str, dark: bool = False, size: tuple[int, int] = (1440, 900), before: str = "", loud: bool = False) -> Iterator["Page"]:
        """A tab of its own, with nothing kept from another. It has to stay quiet, unless it may be loud: no error in
        its console, and no request to anybody but whom it came from. `before` is run before what the page has."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, url)
        try:
            for domain in ("Page", "Runtime", "Network", "Log"):
                page.call(f"{domain}.enable")
            page.resize(*size)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            page.call("Emulation.setEmulatedMedia", features=[scheme])
            if before:
                page.call("Page.addScriptToEvaluateOnNewDocument", source=before)
            page.open(url)
            yield page
            if not loud:
                page.quiet()
        finally:
            self._pages.pop(session, None)
            self.call("Target.disposeBrowserContext", browserContextId=context)

    def end(self) -> None:
        """By its own way out, or else with all that it started."""
        try:
            self.call("Browser.close")
        except (Failed, OSError):
            pass
        until = time.monotonic() + END_S
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                os.killpg(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                break
            time.sleep(0.02)
        os.close(self._writes)
        os.close(self._reads)


class Page:
    def __init__(self, browser: Browser, session: str, url: str) -> None:
        self._browser = browser
        self._session = session
        self._origin = "/".join(url.split("/")[:3]) + "/"
        self.errors: list[str] = []
        # URLs that were asked for, and the headers of the document.
        self.requests: list[str] = []
        self.headers: dict[str, str] = {}
        # Of what the script asks, how many at one time.
        self._on_their_way: set[str] = set()
        self.most_on_their_way = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def told(self, method: str, what: dict[str, Any]) -> None:
        match method:
            case "Runtime.exceptionThrown":
                details = what["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            case "Runtime.consoleAPICalled" if what["type"] in ("error", "warning", "assert"):
                self.errors.append(" ".join(str(argument.get("value", argument)) for argument in what["args"]))
            case "Log.entryAdded" if what["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{what['entry']['text']} {what['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests.append(what["request"]["url"])
                if what.get("type") == "Fetch":
                    self._on_their_way.add(what["requestId"])
                    self.most_on_their_way = max(self.most_on_their_way, len(self._on_their_way))
            case "Network.responseReceived" if what["type"] == "Document":
                self.headers = {name.lower(): value for name, value in what["response"]["headers"].items()}
            case "Network.loadingFinished" | "Network.loadingFailed":
                self._on_their_way.discard(what["requestId"])

    def quiet(self) -> None:
        strangers = [url for url in self.requests if not url.startswith(self._origin) and url != "about:blank"]
        # An icon is asked for by the browser, where a document has no policy.
        errors = [error for error in self.errors if not error.endswith("/favicon.ico")]
        if errors or strangers:
            raise Failed(f"the page is not quiet: errors {errors}, requests to others {strangers}")

    def open(self, url: str) -> None:
        said = self.call("Page.navigate", url=url)
        if "errorText" in said:
            raise Failed(f"{url}: {said['errorText']}")

    def reload(self) -> None:
        """The mark goes with the old document."""
        self.evaluate("window.old = true")
        self.call("Page.reload")
        self.until("the page is there anew", "window.old === undefined && document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            details = said["exceptionDetails"]
            raise Failed(f"{script}: {details.get('exception', {}).get('description', details['text'])}")
        return said["result"].get("value")

    def until(self, what: str, script: str) -> Any:
        """Waits until that is true of the page, and returns it."""
        # An element, which is no value, is there.
        script = f"Promise.resolve({script}).then((value) => value instanceof Node || value)"
        until = time.monotonic() + WAIT_S
        while True:
            try:
                if result := self.evaluate(script):
                    return result
            except Failed as failed:  # a document that goes takes the question with it
                if time.monotonic() > until:
                    raise Failed(f"not within {WAIT_S} s: {what}: {failed}") from None
            if time.monotonic() > until:
                seen = self.evaluate("document.body?.innerText.slice(0, 600)")
                raise Failed(f"not within {WAIT_S} s: {what}\nthe page has: {seen!r}")
            time.sleep(0.02)

    def resize(self, width: int, height: int) -> None:
        """A narrow one is a phone: it has touch, and lays out by its viewport tag."""
        phone = width < 640
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of what is seen of it, after it has been brought into view."""
        found = self.until(
            f"{selector} is seen",
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                if (!element?.checkVisibility()) return null;
                element.scrollIntoView({{ block: "center", behavior: "instant" }});
                const {{ x, y, width, height }} = element.getBoundingClientRect();
                return width && height && [x + width / 2, y + height / 2];
            }})()""",
        )
        return found[0], found[1]

    def click(self, selector: str) -> None:
        x, y = self.place(selector)
        for kind, held in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
            button = "none" if kind == "mouseMoved" else "left"
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=held, clickCount=1)

    def tap(self, selector: str) -> None:
        x, y = self.place(selector)
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        code, text = KEYS[key]
        common = {"key": key, "code": {" ": "Space", "/": "Slash"}.get(key, key), "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Into what has the focus, letter by letter."""
        for letter in text:
            self.call("Input.insertText", text=letter)

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


def high(descriptor: int) -> int:
    """The same under a number that chromium has no use for."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


@contextmanager
def started() -> Iterator[Browser]:
    with tempfile.TemporaryDirectory(prefix="hostler-browser.", ignore_cleanup_errors=True) as directory:
        browser = Browser(Path(directory))
        try:
            yield browser
        finally:
            browser.end()
