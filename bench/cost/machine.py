"""Processes and what they cost: started on given cores, ended by their id, seen through /proc."""

import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpu:
    """Seconds so far."""

    total: float
    user: float
    system: float

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.total - other.total, self.user - other.user, self.system - other.system)


def start(command: list[str | Path], cores: str, **more: object) -> subprocess.Popen[bytes]:
    """A process with all of its threads on `cores`, as `taskset` writes them; a group of its own, so that it can be ended whole."""
    process = subprocess.Popen(
        ["taskset", "-c", cores, *command], start_new_session=True, preexec_fn=many_descriptors, **more
    )
    return process


def many_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found, new = [], [pid]
    while new:
        found += new
        new = [child for parent in new for child in children(parent)]
    return found


def children(pid: int) -> list[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return [int(child) for task in tasks for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu(pid: int) -> Cpu:
    """Of a process and all below it. The total is the scheduler's, in nanoseconds; the split is by ticks."""
    total = user = system = 0.0
    for one in family(pid):
        for schedstat in Path(f"/proc/{one}/task").glob("*/schedstat"):
            total += int(schedstat.read_text().split()[0]) / 1e9
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        user, system = user + int(fields[11]) / TICKS, system + int(fields[12]) / TICKS
    return Cpu(total, user, system)


def memory_kib(pid: int) -> int:
    """What a process and all below it hold; what they share is counted once."""
    lines = [line for one in family(pid) for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def resident_kib(pid: int) -> int:
    """What a process and all below it have resident, what they share as often as they do. Looking holds nobody up."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in family(pid))
    return pages * resource.getpagesize() // 1024


@contextmanager
def meanwhile(each_s: float, look: Callable[[], object]) -> Iterator[None]:
    """Looks again and again, in a thread of its own."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(each_s):
            look()

    looking = threading.Thread(target=run)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def get(port: int, host: str, path: str = "/small") -> int:
    """The status of an answer; 0 if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = one.recv(4096)
            return int(answer.split()[1]) if answer else 0
    except (OSError, IndexError, ValueError):
        return 0


def until_200(port: int, host: str, within_s: float, step_s: float = 0.002) -> float | None:
    """Seconds until a host is served, or None."""
    began = time.monotonic()
    while time.monotonic() - began < within_s:
        if get(port, host) == 200:
            return time.monotonic() - began
        time.sleep(step_s)
    return None
