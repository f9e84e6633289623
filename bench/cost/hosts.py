"""What many tenants cost: the start, the memory, a request, and one tenant more."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import edges
import machine
import workloads
from edges import EDGES, Edge, Setting
from workloads import WORKLOADS

# With 100,000 nginx would take longer than everything else together.
COUNTS = {"hostler": (2, 1_000, 10_000, 100_000), "nginx": (2, 1_000, 10_000)}
MOST = 1_000_000
# Edges that take longer than this to serve are told as not having done so.
START_S = 120
SPREAD = WORKLOADS["small-64"]


def hosts(
    name: str, tenants: int, setting: Setting, rounds: int, seconds: float, settled_s: float = 10
) -> dict[str, float | None]:
    """One edge with so many tenants, and beside it the same one with two, for the cost of a request."""
    many, few = (replace(EDGES[name]) for _ in range(2))
    try:
        took = edges.start(many, here(setting, tenants, "many"), "0", START_S)
        if took is None:
            return {"start_s": None}
        assert many.process
        figures: dict[str, float | None] = {"start_s": took, "memory_kib": machine.memory_kib(many.process.pid)}
        edges.start(few, here(setting, 2, "few"), "0")
        ratios, costs = [], []
        for _ in range(rounds):
            base = workloads.turn(few, SPREAD, "1", seconds, hosts=2)["cpu_us"]
            costs.append(workloads.turn(many, SPREAD, "1", seconds, hosts=min(64, tenants))["cpu_us"])
            ratios.append(costs[-1] / base)
        figures |= {"cpu_us": middle(costs), "of_two": middle(ratios)}
        edges.stop(few)
        return figures | one_more(many, settled_s)
    finally:
        edges.stop(few)
        edges.stop(many)


def one_more(edge: Edge, settled_s: float) -> dict[str, float | None]:
    """A tenant is added while others are asked for."""
    process, setting = edge.process, edge.setting
    assert process and setting
    before = machine.memory_kib(process.pid)
    more = replace(setting, tenants=setting.tenants + 1, files=setting.files / "next")
    more.files.mkdir()
    edge.command(more)
    for new in more.files.iterdir():
        new.write_text(new.read_text().replace(str(more.files), str(setting.files)))
        os.utime(new, (time.time() - 60,) * 2)  # as if it had lain there
    load: dict[str, float] = {}
    asking = threading.Thread(target=lambda: load.update(workloads.wrk(setting.port, SPREAD, "1", 3, min(64, setting.tenants), setting.tenants)))
    with peak_of(process.pid) as peak:
        asking.start()
        time.sleep(1)
        spent = machine.cpu(process.pid)
        for new in more.files.iterdir():
            new.rename(setting.files / new.name)
        process.send_signal(signal.SIGHUP)
        served = machine.until_200(setting.port, edges.host(setting.tenants), START_S)
        spent = machine.cpu(process.pid) - spent
        asking.join()
        time.sleep(settled_s)
    return {
        "added_s": served,
        "added_cpu_ms_with_load": spent.total * 1e3,
        "added_failed": load["failed"] + load["not_2xx"],
        "peak_kib": max(peak),
        "after_of_before": machine.memory_kib(process.pid) / before,
    }


@contextmanager
def peak_of(pid: int) -> Iterator[list[int]]:
    seen, over = [machine.memory_kib(pid)], threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            try:
                seen.append(machine.memory_kib(pid))
            except (FileNotFoundError, ProcessLookupError):  # a worker has ended
                continue

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def include(setting: Setting, tenants: int) -> dict[str, float]:
    """hostler with so many tenants in its main file and one in a file of its own, which is changed."""
    edge = replace(EDGES["hostler"])
    wanted = here(setting, tenants, "include")
    try:
        wanted.files.mkdir(parents=True)
        EDGES["hostler"].command(wanted)
        main = wanted.files / "proxy.toml"
        main.write_text('include = ["tenants/*.toml"]\n' + main.read_text())
        own = wanted.files / "tenants/own.toml"
        own.parent.mkdir()
        own_tenant(own, wanted.app, 0)
        old(main)
        edge.command = lambda _: [wanted.binary, "run", "--config", main]
        edges.start(edge, wanted, "0")
        assert edge.process
        time.sleep(3)  # so that the first looks at the files are over
        costs = []
        for number in range(1, 6):
            own_tenant(own, wanted.app, number)
            before = machine.cpu(edge.process.pid)
            edge.process.send_signal(signal.SIGHUP)
            if machine.until_200(wanted.port, f"own{number}.bench.test", 5) is None:
                raise RuntimeError("a changed file is not taken up")
            costs.append((machine.cpu(edge.process.pid) - before).total * 1e3)
        return {"own_file_cpu_ms": middle(costs), "own_file_cpu_ms_most": max(costs)}
    finally:
        edges.stop(edge)


def own_tenant(path: Path, app: int, number: int) -> None:
    new = path.with_suffix(".new")
    new.write_text(f'[routes.own]\nhosts = "own{number}.bench.test"\nupstream = "http://127.0.0.1:{app}"\n')
    os.utime(new, (time.time() - 60 + number,) * 2)
    new.rename(path)


def old(path: Path) -> None:
    os.utime(path, (time.time() - 60,) * 2)


def here(setting: Setting, tenants: int, name: str) -> Setting:
    return replace(setting, files=setting.files / f"{name}-{tenants}", port=machine.free_port(), tenants=tenants)


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
