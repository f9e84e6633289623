"""What many tenants cost: the start, the memory, a request, and one tenant more."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from statistics import median

import machine
import workloads
from edge import Edge, Setting, host
from edges import EDGES
from workloads import WORKLOADS

# What is asked of the others stops where it would take longer than everything else together.
COUNTS = {
    "hostler": (2, 1_000, 10_000, 100_000),
    "nginx": (2, 1_000, 10_000, 100_000),
    "haproxy": (2, 1_000, 10_000, 100_000),
    "caddy": (2, 1_000, 10_000),
    "traefik": (2, 1_000, 10_000),
    "envoy": (2, 1_000, 10_000),
}
MOST = 1_000_000
# Edges that take longer than this to serve are told as not having done so.
START_S = 120
# One start says little, and many of a slow one take long.
STARTS_S = 5
HOT = WORKLOADS["small-64"]
# Asked for by one request after the other, each tenant has its connection to the app made anew, or there would be 100,000 open.
ALL = replace(HOT, path="/once")
ALL_MOST = 100_000


def hosts(
    name: str, tenants: int, setting: Setting, rounds: int, seconds: float, settled_s: float = 10
) -> dict[str, float | None]:
    """One edge with so many tenants, and beside it the same one with two, for the cost of a request."""
    many, few = (replace(EDGES[name]) for _ in range(2))
    try:
        starts: list[float] = []
        while not starts or sum(starts) < STARTS_S and len(starts) < 5:
            many.stop()
            took = many.start(here(setting, tenants, "many"), "0", START_S)
            if took is None:
                return {"start_s": None}
            starts.append(took)
        assert many.process
        figures: dict[str, float | None] = {"start_s": median(starts), "memory_kib": machine.memory_kib(many.process.pid)}
        few.start(here(setting, 2, "few"), "0")
        for which, load, asked in (("hot", HOT, min(64, tenants)), ("all", ALL, min(ALL_MOST, tenants))):
            ratios, costs = [], []
            for number in range(rounds + 1):
                base = workloads.turn(few, load, "1", seconds, hosts=2)["cpu_us"]
                cost = workloads.turn(many, load, "1", seconds, hosts=asked)["cpu_us"]
                if number:  # the first was to warm up
                    costs.append(cost)
                    ratios.append(cost / base)
            figures |= {f"{which}_us": median(costs), f"{which}_of_two": median(ratios)}
        few.stop()
        figures["asked_kib"] = machine.memory_kib(many.process.pid)
        return figures | (one_more(many, settled_s) if many.reload else {})
    finally:
        few.stop()
        many.stop()


def one_more(edge: Edge, settled_s: float) -> dict[str, float | None]:
    """A tenant is added while others are asked for."""
    process, setting = edge.process, edge.setting
    assert process and setting and edge.reload
    before = machine.memory_kib(process.pid)
    more = replace(setting, tenants=setting.tenants + 1, files=setting.files / "next")
    more.files.mkdir()
    edge.command(more)
    for new in more.files.iterdir():
        new.write_text(new.read_text().replace(str(more.files), str(setting.files)))
        os.utime(new, (time.time() - 60,) * 2)  # as if it had lain there
    load: dict[str, float] = {}
    asking = threading.Thread(target=lambda: load.update(workloads.wrk(setting.port, HOT, "1", 3, min(64, setting.tenants), setting.tenants)))
    with peak_of(process.pid) as peak:
        asking.start()
        time.sleep(1)
        spent, began = machine.cpu(process.pid), time.monotonic()
        for new in more.files.iterdir():
            new.rename(setting.files / new.name)
        edge.reload(edge)
        served = machine.until_200(setting.port, host(setting.tenants), START_S)
        took = time.monotonic() - began
        spent = machine.cpu(process.pid) - spent
        asking.join()
        time.sleep(settled_s)
    return {
        "added_s": None if served is None else took,
        "added_cpu_ms_with_load": spent.total * 1e3,
        "added_failed": load["failed"] + load["not_2xx"],
        "peak_kib": max(peak),
        "after_of_before": machine.memory_kib(process.pid) / before,
    }


@contextmanager
def peak_of(pid: int) -> Iterator[list[int]]:
    seen = [machine.memory_kib(pid)]

    def look() -> None:
        with suppress(FileNotFoundError, ProcessLookupError):  # a worker has ended
            seen.append(machine.memory_kib(pid))

    with machine.meanwhile(0.1, look):
        yield seen


def own_file(setting: Setting, tenants: int) -> dict[str, float]:
    """hostler with so many tenants in its main file and one in a file of its own, which is changed."""
    wanted = here(setting, tenants, "own-file")
    wanted.files.mkdir(parents=True)
    EDGES["hostler"].command(wanted)
    main = wanted.files / "proxy.toml"
    main.write_text('include = ["tenants/*.toml"]\n' + main.read_text())
    (wanted.files / "tenants").mkdir()
    costs = changes(wanted, main, tenants)
    return {"own_file_cpu_ms": median(costs), "own_file_cpu_ms_most": max(costs)}


def many_files(setting: Setting, tenants: int) -> dict[str, float]:
    """hostler with a file for each of so many tenants."""
    wanted = here(setting, tenants, "files")
    wanted.files.mkdir(parents=True)
    EDGES["hostler"].command(wanted)
    main = wanted.files / "proxy.toml"
    top, *routes = main.read_text().split("[routes.")
    main.write_text('include = ["tenants/*.toml"]\n' + top)
    (wanted.files / "tenants").mkdir()
    for number, route in enumerate(routes):
        path = wanted.files / f"tenants/t{number}.toml"
        path.write_text("[routes." + route)
        old(path)
    seen: dict[str, float] = {}
    costs = changes(wanted, main, tenants, seen)
    return seen | {"changed_cpu_ms": median(costs)}


def changes(wanted: Setting, main: Path, tenants: int, seen: dict[str, float] | None = None) -> list[float]:
    """Starts hostler, and changes one tenant's own file several times: milliseconds of CPU for each."""
    edge = replace(EDGES["hostler"], command=lambda _: [wanted.binary, "run", "--config", main])
    own = wanted.files / "tenants/own.toml"
    own_tenant(own, wanted.app, 0)
    old(main)
    try:
        took = edge.start(wanted, "0", START_S)
        assert took is not None and edge.process
        time.sleep(5)  # so that the first looks at the files are over
        if seen is not None:
            before = machine.cpu(edge.process.pid)
            time.sleep(5)
            spent = machine.cpu(edge.process.pid) - before
            memory = machine.memory_kib(edge.process.pid)
            seen |= {"start_s": took, "memory_kib": memory, "rest_cpu_ms_a_second": spent.total / 5 * 1e3}
        costs = []
        for number in range(1, 6):
            own_tenant(own, wanted.app, number)
            before = machine.cpu(edge.process.pid)
            edge.signal(signal.SIGHUP)
            if machine.until_200(wanted.port, f"own{number}.bench.test", 5) is None:
                raise RuntimeError("a changed file is not taken up")
            costs.append((machine.cpu(edge.process.pid) - before).total * 1e3)
        return costs
    finally:
        edge.stop()


def own_tenant(path: Path, app: int, number: int) -> None:
    new = path.with_suffix(".new")
    new.write_text(f'[routes.own]\nhosts = "own{number}.bench.test"\nupstream = "http://127.0.0.1:{app}"\n')
    os.utime(new, (time.time() - 60 + number,) * 2)
    new.rename(path)


def old(path: Path) -> None:
    os.utime(path, (time.time() - 60,) * 2)


def here(setting: Setting, tenants: int, name: str) -> Setting:
    return replace(setting, files=setting.files / f"{name}-{tenants}", port=machine.free_port(), tenants=tenants)
