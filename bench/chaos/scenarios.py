"""What happens to the tenants while they are asked for, and what is counted of it.

Each scenario sets a stage of its own, does its worst, and returns a row of figures for each edge, several of which may
stand side by side. What the figures are called in a table is the report's affair.
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from engine import eventually
from load import GETS, MIXED, TENANTS, Outcome
from stage import Stage

Row = dict[str, str | int | float | None]

RATE = 50
# How long things are left alone between two events, and before the first.
QUIET_S = 1.5


def swap(edges: list[str], files: Path, swaps: int) -> list[Row]:
    """Both tenants' containers stop, and start in the other order, so that they take each other's addresses."""
    with Stage.set(edges, files) as stage:
        stage.start_apps()
        stage.start_edges()
        time.sleep(QUIET_S)
        load = stage.load(RATE, MIXED)
        with load.running(files):
            time.sleep(QUIET_S)
            swapped = sum(swap_once(stage) for _ in range(swaps))
        arrivals = stage.arrivals()
    seen_twice = Counter((arrival.edge, arrival.path) for arrival in arrivals if arrival.method == "POST")
    rows: list[Row] = []
    for edge in edges:
        ours = of(load.outcomes, edge=edge)
        rows.append(
            {
                "edge": edge,
                "swaps": swapped,
                "requests": len(ours),
                "wrong_answers": sum(outcome.wrong for outcome in ours),
                "wrong_arrivals": sum(arrival.wrong for arrival in arrivals if arrival.edge == edge),
                "posts_twice": sum(count > 1 for (name, _), count in seen_twice.items() if name == edge),
                **failures(ours),
            }
        )
    return rows


def swap_once(stage: Stage) -> bool:
    """Whether they have each other's addresses now: the engine hands out the lowest that is free."""
    before = {tenant: stage.engine.address(tenant) for tenant in TENANTS}
    stopped = time.time()
    stage.engine.stop(*TENANTS)
    for tenant in sorted(TENANTS, key=lambda tenant: last_number(before[tenant]), reverse=True):
        stage.engine.start(tenant)
    for tenant in TENANTS:
        stage.next_start(tenant, stopped)
    time.sleep(QUIET_S)
    after = {tenant: stage.engine.address(tenant) for tenant in TENANTS}
    return [after[tenant] for tenant in TENANTS] == [before[tenant] for tenant in reversed(TENANTS)]


def restart(edges: list[str], files: Path, times: int) -> list[Row]:
    return outages(edges, files, times, "restart", lambda stage: stage.engine.restart("thor"))


def recreate(edges: list[str], files: Path, times: int) -> list[Row]:
    """As `up -d --force-recreate` does it."""

    def away_and_back(stage: Stage) -> None:
        stage.engine.stop("thor")
        stage.engine.remove("thor")
        stage.start_app("thor", "thor")

    return outages(edges, files, times, "recreate", away_and_back)


def kill(edges: list[str], files: Path, times: int) -> list[Row]:
    def kill_and_start(stage: Stage) -> None:
        stage.engine.kill("thor")
        stage.engine.start("thor")

    return outages(edges, files, times, "kill -9, start", kill_and_start)


def outages(edges: list[str], files: Path, times: int, event: str, happen: Callable[[Stage], None]) -> list[Row]:
    """thor goes away and comes back while it is asked for, once in 15 s."""
    readies: list[float] = []
    with Stage.set(edges, files) as stage:
        stage.start_apps()
        stage.start_edges()
        time.sleep(QUIET_S)
        load = stage.load(RATE, GETS)
        with load.running(files):
            time.sleep(10)
            first = time.time()
            for _ in range(times):
                began = time.time()
                happen(stage)
                readies.append(stage.next_start("thor", began))
                time.sleep(max(0, began + 15 - time.time()))
    return [outage(edge, f"{event}, {times} ×", load.outcomes, first, readies) for edge in edges]


def outage(edge: str, event: str, outcomes: list[Outcome], first: float, readies: list[float]) -> Row:
    thor, potter = (of(outcomes, edge=edge, tenant=tenant) for tenant in TENANTS)
    waited = [
        outcome.ended - ready
        for ready in readies
        for outcome in thor
        if outcome.good and outcome.began < ready < outcome.ended
    ]
    return {
        "edge": edge,
        "event": event,
        "requests": len(thor),
        "thor_failed": sum(outcome.failed for outcome in thor),
        "potter_failed": sum(outcome.failed for outcome in potter),
        "wrong_answers": sum(outcome.wrong for outcome in thor + potter),
        "back_ms": longest([first_good_ms(thor, ready) for ready in readies]),
        "waited": len(waited),
        "waited_p99_ms": percentile_ms(waited, 0.99),
        "potter_p99_quiet_ms": percentile_ms([outcome.took_s for outcome in potter if outcome.began < first], 0.99),
        "potter_p99_ms": percentile_ms([outcome.took_s for outcome in potter if outcome.began >= first], 0.99),
    }


def edge_first(edges: list[str], files: Path) -> list[Row]:
    """The edges start in a network without a single tenant."""
    with Stage.set(edges, files) as stage:
        stage.start_edges()
        time.sleep(5)
        up = [edge for edge in edges if stage.engine.running(edge)]
        load = stage.load(RATE, GETS, up)
        with load.running(files):
            time.sleep(5)
            stage.start_apps()
            ready = {tenant: stage.starts(tenant)[0] for tenant in TENANTS}
            time.sleep(10)
        rows: list[Row] = []
        for edge in edges:
            row: Row = {"edge": edge, "up": "yes" if edge in up else "no, it ends"}
            for tenant in TENANTS if edge in up else ():
                ours = of(load.outcomes, edge=edge, tenant=tenant)
                row[f"{tenant}_first_ms"] = first_good_ms(ours, ready[tenant])
            rows.append(row)
    return rows


def dns_dead(edges: list[str], files: Path, dead_s: float = 30) -> list[Row]:
    """The engine's name service falls silent for the edges."""
    # Its answers are dropped, not the questions: to send what is dropped on its way out is an error at once.
    rule = ["INPUT", "--source", "127.0.0.11", "--jump", "DROP"]
    with Stage.set(edges, files) as stage:
        stage.start_apps()
        stage.start_edges()
        time.sleep(QUIET_S)
        load = stage.load(RATE, GETS)
        with load.running(files):
            time.sleep(5)
            for edge in edges:
                stage.engine.in_network_of(edge, "iptables", "--insert", *rule)
            silent = time.time()
            time.sleep(dead_s)
            spoke = time.time()
            for edge in edges:
                stage.engine.in_network_of(edge, "iptables", "--delete", *rule)
            time.sleep(15)
        rows: list[Row] = []
        for edge in edges:
            ours = of(load.outcomes, edge=edge)
            dead = [outcome for outcome in ours if silent <= outcome.began < spoke]
            late = [outcome.began for outcome in ours if outcome.began >= spoke and outcome.failed]
            rows.append(
                {
                    "edge": edge,
                    "requests": len(dead),
                    "failed": sum(outcome.failed for outcome in dead),
                    "failed_before": sum(outcome.failed for outcome in ours if outcome.began < silent),
                    "recovered_ms": round((max(late) - spoke) * 1000) if late else 0,
                    "up": "yes" if stage.engine.running(edge) else "no",
                }
            )
    return rows


def scale(edges: list[str], files: Path) -> list[Row]:
    """thor's app gets two more containers, and loses them again."""
    with Stage.set(edges, files) as stage:
        stage.start_apps()
        stage.start_edges()
        time.sleep(QUIET_S)
        load = stage.load(RATE, GETS)
        with load.running(files):
            time.sleep(3)
            more = ("thor-2", "thor-3")
            for name in more:
                stage.start_app(name, "thor")
            eventually("three apps of thor's start", lambda: len(stage.starts("thor")) == 3)
            ready = stage.starts("thor")[-1]
            time.sleep(10)
            down = time.time()
            stage.engine.stop(*more)
            stage.engine.remove(*more)
            time.sleep(10)
    rows: list[Row] = []
    for edge in edges:
        ours = of(load.outcomes, edge=edge, tenant="thor")
        firsts: dict[str | None, float] = {}
        for outcome in sorted(ours, key=lambda outcome: outcome.ended):
            firsts.setdefault(outcome.container, outcome.ended)
        containers = {name: ended for name, ended in firsts.items() if name}
        rows.append(
            {
                "edge": edge,
                "all_three_s": round(max(containers.values()) - ready, 1) if len(containers) == 3 else None,
                "failed_up": sum(outcome.failed for outcome in ours if outcome.began < down),
                "failed_down": sum(outcome.failed for outcome in ours if outcome.began >= down),
                "potter_failed": sum(outcome.failed for outcome in of(load.outcomes, edge=edge, tenant="potter")),
            }
        )
    return rows


def down(edges: list[str], files: Path) -> list[Row]:
    """thor is gone for good: what an answer takes, when whatever an edge waits for is over."""
    with Stage.set(edges, files) as stage:
        stage.start_apps()
        stage.start_edges()
        time.sleep(QUIET_S)
        load = stage.load(RATE, GETS)
        with load.running(files):
            time.sleep(3)
            stage.engine.stop("thor")
            time.sleep(15)
            after = time.time()
            time.sleep(60)
            told = {edge: len(stage.engine.errors_since(edge, after)) for edge in edges}
    rows: list[Row] = []
    for edge in edges:
        thor = [outcome for outcome in of(load.outcomes, edge=edge, tenant="thor") if outcome.began >= after]
        took = [outcome.took_s for outcome in thor]
        statuses = Counter(outcome.status or outcome.error for outcome in thor)
        rows.append(
            {
                "edge": edge,
                "requests": len(thor),
                "statuses": ", ".join(f"{status}: {count}" for status, count in statuses.most_common()),
                "p50_ms": percentile_ms(took, 0.50),
                "p99_ms": percentile_ms(took, 0.99),
                "lines": told[edge],
                "potter_failed": sum(outcome.failed for outcome in of(load.outcomes, edge=edge, tenant="potter")),
            }
        )
    return rows


def of(outcomes: list[Outcome], edge: str, tenant: str | None = None) -> list[Outcome]:
    return [outcome for outcome in list(outcomes) if outcome.edge == edge and tenant in (None, outcome.tenant)]


def failures(outcomes: list[Outcome]) -> Row:
    return {
        f"failed_{method.lower()}": sum(outcome.failed for outcome in outcomes if outcome.kind.method == method)
        for method in ("GET", "POST")
    }


def first_good_ms(outcomes: list[Outcome], ready: float) -> float | None:
    """From the app's start to the first good answer that came after it, if any did."""
    ends = [outcome.ended for outcome in outcomes if outcome.good and outcome.ended >= ready]
    return round((min(ends) - ready) * 1000, 1) if ends else None


def longest(times: list[float | None]) -> float | None:
    """None if one of them has not ended."""
    ended = [time for time in times if time is not None]
    return max(ended) if len(ended) == len(times) else None


def percentile_ms(times_s: list[float], share: float) -> float | None:
    ordered = sorted(times_s)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 1) if ordered else None


def last_number(address: str) -> int:
    return int(address.rsplit(".", 1)[1])
