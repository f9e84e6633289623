"""The floods, and how potter fares in each: alone, beside a flood that goes past the edge, and with one through it."""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from figures import STATES, Row, say
from stage import THOR, Probe, Stage, Wanted, flooded, peak_of, priority, staged

# Of those who hang: how often a further client asks for thor, and until when memory is looked at again.
FURTHER_RATE = 10
SETTLED_S = 2
DEADLINE_S = 3.0


@dataclass(frozen=True)
class Scenario:
    name: str
    clients: int
    # Whether the flood, straight at thor's app, has done what it is there for.
    real: Callable[[dict[str, Any]], bool]
    workers: tuple[int, ...] = (1,)
    # Clients to see that it can be run, where nginx would write gigabytes to the disk.
    few: int | None = None


def answered(did: dict[str, Any]) -> bool:
    return did["answers"].get("200", 0) > did["clients"]


def all_open(did: dict[str, Any]) -> bool:
    return did["open_most"] == did["clients"]


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("keepalive", 1_000, lambda did: all_open(did) and answered(did), (1, 2)),
        # Between two of its connections a client has none, so not all are open at one time.
        Scenario("new", 1_000, answered, (1, 2)),
        Scenario("hang", 2_000, lambda did: all_open(did) and not did["answers"]),
        Scenario("slow-readers", 2_000, lambda did: all_open(did) and did["read_bytes"] >= 512 * did["clients"], few=50),
        Scenario("slow-writers", 2_000, lambda did: all_open(did) and did["written_bytes"] >= 512 * did["clients"]),
        Scenario("uploads", 200, lambda did: all_open(did) and did["written_bytes"] > 100 << 20, few=5),
    )
}


def rows(scenario: Scenario, workers: int, arguments: argparse.Namespace, files: Path) -> list[Row]:
    """A row for each edge. The edges take turns, round by round, in the same weather."""
    if arguments.smoke:
        scenario = replace(scenario, clients=scenario.few or scenario.clients)
    rounds: dict[str, list[dict[str, Any]]] = {edge: [] for edge in arguments.edges}
    for _ in range(arguments.rounds):
        for edge in arguments.edges:
            wanted = Wanted(files, arguments.edge, workers)
            seen = {state: measured(scenario, state, edge, wanted, arguments.seconds) for state in STATES}
            rounds[edge].append(seen)
            say(f"{scenario.name}, {workers} worker(s), {edge}: {shown(seen)}")
    about = {"scenario": scenario.name, "workers": workers, "seconds": arguments.seconds, "priority": priority().title}
    return [{**about, "edge": edge, "rounds": seen} for edge, seen in rounds.items()]


def measured(scenario: Scenario, state: str, edge: str, wanted: Wanted, seconds: float) -> dict[str, Any]:
    # In half of the time, so that the deadline of those who came first falls within it.
    deadline_s = min(DEADLINE_S, seconds / 2)
    if scenario.name == "hang":
        wanted = Wanted(wanted.files, wanted.binary, wanted.workers, thor=f'timeouts.response = "{round(deadline_s * 1000)}ms"\n')
    with staged(edge, wanted) as stage:
        if state == "alone":
            with Probe(stage.port, stage.potter, seconds) as probe:
                return {"potter": probe.seen()}
        if scenario.name == "hang" and edge == "hostler" and state == "through":
            return hanging(scenario, stage, seconds, deadline_s)
        return beside(scenario, stage, stage.port if state == "through" else stage.app, seconds)


def beside(scenario: Scenario, stage: Stage, at: int, seconds: float) -> dict[str, Any]:
    """potter through the edge, while thor's flood goes to that port."""
    with peak_of(stage) as memory, flooded(scenario.name, scenario.clients, at, seconds + 20) as did:
        with Probe(stage.port, stage.potter, seconds) as probe:
            potter = probe.seen()
    if at == stage.app and not scenario.real(did):
        raise RuntimeError(f"{scenario.name} was no such flood: {did}")
    return {"potter": potter, "flood": did, "memory_kib": max(memory) - memory[0]}


def hanging(scenario: Scenario, stage: Stage, seconds: float, deadline_s: float) -> dict[str, Any]:
    """The same; besides, how soon a further client is refused, and what memory is left when all have gone."""
    with Probe(stage.port, THOR, 0.1, fresh_every=1) as probe:
        probe.seen()  # what a first request takes for good isn't the flood's
    before = stage.memory_kib()
    with peak_of(stage) as memory, flooded(scenario.name, scenario.clients, stage.port, seconds + 20) as did:
        with (
            Probe(stage.port, stage.potter, seconds) as probe,
            Probe(stage.port, THOR, seconds, "/never", FURTHER_RATE, fresh_every=1) as further,
        ):
            seen = {"potter": probe.seen(), "further": further.seen()["outcomes"]}
    time.sleep(deadline_s + SETTLED_S)  # of whom was let in last, the deadline is over too
    left = stage.memory_kib() - before
    return {**seen, "flood": did, "memory_kib": max(memory) - before, "left_kib": left}


def shown(seen: dict[str, Any]) -> str:
    def ms(state: str, what: str) -> str:
        return f"{seen[state]['potter'][f'{what}_us'] / 1e3:.2f}"

    failed = sum(seen[state]["potter"]["failed"] for state in STATES)
    parts = [f"{what} " + " ".join(ms(state, what) for state in STATES) + " ms" for what in ("p50", "p99")]
    through = seen["through"]
    more = "".join(f"; {name} {through[name]}" for name in ("left_kib", "further") if name in through)
    return f"{', '.join(parts)}, {failed} failed, {through['memory_kib'] / 1024:+.1f} MiB; {through['flood']}{more}"
