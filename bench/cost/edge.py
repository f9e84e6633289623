"""One edge of the comparison: what it is started for, and its process.

Tenant `t<i>` has the host `t<i>.bench.test`. All of them have the one app for an upstream, each by an upstream of its own.
"""

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import machine

PROJECT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Setting:
    """What an edge is started for."""

    files: Path
    app: int
    port: int
    workers: int = 1
    tenants: int = 2
    log: bool = False
    # Whether /echo is asked to switch protocols, which nginx has to be told.
    tunnels: bool = False
    binary: Path = PROJECT / "target/release/hostler"


@dataclass
class Edge:
    name: str
    title: str
    """Writes the configuration, and gives the command that serves it."""
    command: Callable[[Setting], list[str | Path]]
    """Has it take up what has changed; None where it can't."""
    reload: Callable[["Edge"], None] | None = field(default=lambda edge: edge.signal(signal.SIGHUP))
    process: subprocess.Popen[bytes] | None = field(default=None)
    setting: Setting | None = field(default=None)

    def start(self, setting: Setting, cores: str, within_s: float = 60) -> float | None:
        """Seconds until its first right answer, or None if there was none; then it has been ended."""
        setting.files.mkdir(parents=True, exist_ok=True)
        command = self.command(setting)
        with (setting.files / "out").open("wb") as out, (setting.files / "err").open("wb") as err:
            self.process = machine.start(command, cores, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self.setting = setting
        took = machine.until_200(setting.port, host(setting.tenants - 1), within_s)
        if took is None:
            self.stop()
        return took

    def stop(self) -> None:
        if self.process:
            machine.end(self.process)
        self.process = self.setting = None

    def signal(self, what: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(what)


def host(tenant: int) -> str:
    return f"t{tenant}.bench.test"
