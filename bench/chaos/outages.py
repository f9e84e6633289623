"""thor's container goes away and comes back while it is asked for: for a minute each way, and fifty times in a row.

Owns when that happens and what is counted of it. potter, who has nothing to do with it, is asked as well; and since a
container that starts takes time from everybody on the machine, the same happens to one that no edge knows.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from figures import Row, begun, failed, first_good_ms, longest, of, percentile_ms, took_ms, waited_s, wrong
from load import GETS, TENANTS, Outcome
from progress import RATE, say
from stage import Stage

# From one event of thor's to the next; half of it later the same happens to somebody who is behind no edge.
APART_S = 15.0
HALF_S = APART_S / 2
BYSTANDER = "bystander"
# For pools to fill before anything counts.
WARM_S = 3.0
# How long things are left alone after a restart: longer than connections stay idle, or those of the crowd that waited
# would make the next stop longer.
QUIET_S = 2.5


@dataclass
class Window:
    """A time in which one kind of event happened, and the moments that mattered."""

    since: float
    before: float = 0
    # When it began to happen to thor, and when to the bystander.
    thor: list[float] = field(default_factory=list)
    bystander: list[float] = field(default_factory=list)
    readies: list[float] = field(default_factory=list)
    # From when to when a kill was under way; what was in flight then is no one's to save.
    kills: list[tuple[float, float]] = field(default_factory=list)


def restart(stage: Stage, name: str) -> None:
    stage.engine.restart(name)


def recreate(stage: Stage, name: str) -> None:
    """As `up -d --force-recreate` does it."""
    stage.engine.stop(name)
    stage.engine.remove(name)
    stage.start_app(name, name)


def kill(stage: Stage, name: str) -> tuple[float, float]:
    began = time.time()
    stage.engine.kill(name)
    ended = stage.engine.ended(name)
    stage.engine.start(name)
    return began, ended


EVENTS: dict[str, Callable[[Stage, str], tuple[float, float] | None]] = {
    "restart": restart,
    "recreate": recreate,
    "kill -9, start": kill,
}


def away(edges: list[str], files: Path, times: int) -> list[Row]:
    """First as long without an event as then with each kind of them, every 15 s."""
    windows: dict[str, Window] = {}
    with Stage.set(edges, files) as stage:
        stage.start_apps()
        stage.start_app(BYSTANDER, BYSTANDER)
        stage.start_edges()
        load = stage.load(RATE, GETS)
        with load.running(files):
            time.sleep(WARM_S)
            say(f"{times * APART_S:.0f} s without an event")
            quiet = Window(time.time())
            time.sleep(times * APART_S)
            quiet.before = time.time()
            for event, happen in EVENTS.items():
                say(f"{times * APART_S:.0f} s with {times} × {event}")
                windows[event] = events(stage, happen, times)
    return [outage(edge, event, load.outcomes, quiet, window) for edge in edges for event, window in windows.items()]


def events(stage: Stage, happen: Callable[[Stage, str], tuple[float, float] | None], times: int) -> Window:
    window = Window(time.time())
    for number in range(times):
        began = time.time()
        window.thor.append(began)
        if killed := happen(stage, "thor"):
            window.kills.append(killed)
        window.readies.append(stage.next_start("thor", began))
        sleep_until(window.since + number * APART_S + HALF_S)
        window.bystander.append(time.time())
        happen(stage, BYSTANDER)
        sleep_until(window.since + (number + 1) * APART_S)
    window.before = time.time()
    return window


def sleep_until(then: float) -> None:
    time.sleep(max(0, then - time.time()))


def outage(edge: str, event: str, outcomes: list[Outcome], quiet: Window, window: Window) -> Row:
    thor, potter = (begun(of(outcomes, edge, tenant), window.since, window.before) for tenant in TENANTS)
    waited = [late for ready in window.readies for late in waited_s(thor, ready)]
    return {
        "edge": edge,
        "event": event,
        "times": len(window.thor),
        "requests": len(thor),
        "thor_failed": failed(thor),
        "thor_in_flight": sum(outcome.failed and in_flight(outcome, window.kills) for outcome in thor),
        "potter_failed": failed(potter),
        "wrong_answers": wrong(thor + potter),
        "back_ms": longest([first_good_ms(thor, ready) for ready in window.readies]),
        "waited": len(waited),
        "waited_p99_ms": percentile_ms(waited, 0.99),
        "potter_p99_quiet_ms": took_ms(begun(of(outcomes, edge, "potter"), quiet.since, quiet.before), 0.99),
        "potter_p99_bystander_ms": took_ms(half_after(window.bystander, potter), 0.99),
        "potter_p99_ms": took_ms(half_after(window.thor, potter), 0.99),
    }


def half_after(moments: list[float], outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for moment in moments for outcome in begun(outcomes, moment, moment + HALF_S)]


def in_flight(outcome: Outcome, kills: list[tuple[float, float]]) -> bool:
    return any(outcome.began <= ended and began <= outcome.ended for began, ended in kills)


def lateness(edges: list[str], files: Path, restarts: int) -> list[Row]:
    """One restart after the other: how late those are answered who had to wait, counted from when the app accepts."""
    told: list[float] = []
    seen: list[float | None] = []
    with Stage.set(edges, files) as stage:
        stage.start_apps()
        stage.start_edges()
        load = stage.load(RATE, GETS)
        with load.running(files):
            time.sleep(WARM_S)
            for number in range(1, restarts + 1):
                began = time.time()
                stage.engine.restart("thor")
                seen.append(stage.accepting_since("thor"))
                told.append(stage.next_start("thor", began))
                time.sleep(QUIET_S)
                say(f"restart {number} of {restarts}", every=10, number=number)
    return [late(edge, load.outcomes, seen, told) for edge in edges]


def late(edge: str, outcomes: list[Outcome], seen: list[float | None], told: list[float]) -> Row:
    """Where nobody saw when the app began to accept, what it said itself counts, which is earlier."""
    thor, potter = (of(outcomes, edge, tenant) for tenant in TENANTS)
    from_seen = [late for ready, word in zip(seen, told) for late in waited_s(thor, word if ready is None else ready)]
    from_told = [late for ready in told for late in waited_s(thor, ready)]
    return {
        "edge": edge,
        "restarts": len(told),
        "seen": sum(moment is not None for moment in seen),
        "requests": len(thor),
        "thor_failed": failed(thor),
        "potter_failed": failed(potter),
        "waited": len(from_seen),
        "p50_ms": percentile_ms(from_seen, 0.50),
        "p99_ms": percentile_ms(from_seen, 0.99),
        "max_ms": percentile_ms(from_seen, 1),
        "told_p99_ms": percentile_ms(from_told, 0.99),
    }
