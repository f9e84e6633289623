"""What else happens to tenants and to the name service, and what is counted of it.

Each scenario sets a stage of its own, does its worst, and returns a row of figures for each edge, several of which may
stand side by side. What the figures are called in a table is the report's affair.
"""

import json
import time
from collections import Counter
from pathlib import Path

from engine import eventually
from figures import Row, begun, failed, first_good_ms, of, took_ms
from load import GETS, TENANTS
from progress import RATE, say
from stage import Stage

# Longer than hostler, and Caddy with its settings, hold a request.
HOLD_OVER_S = 15.0
# Shorter than hostler holds a request.
RESTART_BEFORE_S = 5.0
# An engine asks for a container's health every five seconds.
HEALTHY_S = 20.0


def edge_first(edges: list[str], files: Path) -> list[Row]:
    """The edges start without a single tenant; thor comes while requests are still held, potter when that is over."""
    with Stage.set(edges, files) as stage:
        stage.start_edges_alone()
        time.sleep(5)
        up = [edge for edge in edges if stage.engine.running(edge)]
        health = {edge: final_health(stage, edge) for edge in up}
        load = stage.load(RATE, GETS, up)
        with load.running(files):
            ready = {}
            for tenant, after_s in zip(TENANTS, (5, HOLD_OVER_S)):
                time.sleep(after_s)
                stage.start_apps(tenant)
                ready[tenant] = stage.starts(tenant)[0]
            time.sleep(10)
        rows: list[Row] = []
        for edge in edges:
            row: Row = {"edge": edge, "up": "yes" if edge in up else "no, it ends", "health": health.get(edge)}
            for tenant in TENANTS if edge in up else ():
                row[f"{tenant}_first_ms"] = first_good_ms(of(load.outcomes, edge, tenant), ready[tenant])
            rows.append(row)
    return rows


def final_health(stage: Stage, edge: str) -> str | None:
    """What the engine thinks of it once it has asked; None where the image has no check."""
    deadline = time.monotonic() + HEALTHY_S
    while (health := stage.engine.health(edge)) == "starting" and time.monotonic() < deadline:
        time.sleep(0.2)
    return health


def dns_dead(edges: list[str], files: Path, dead_s: float = 30) -> list[Row]:
    """The engine's name service falls silent for the edges, and potter's container is restarted meanwhile."""
    # Its answers are dropped, not the questions: to send what is dropped on its way out is an error at once.
    rule = ["INPUT", "--source", "127.0.0.11", "--jump", "DROP"]
    dropped: dict[str, int] = {}
    with Stage.set(edges, files) as stage:
        stage.start_apps()
        stage.start_edges()
        load = stage.load(RATE, GETS)
        with load.running(files):
            time.sleep(5)
            for edge in edges:
                stage.engine.in_network_of(edge, "iptables", "--insert", *rule)
            silent = time.time()
            say(f"no name service for {dead_s:.0f} s")
            time.sleep(dead_s - RESTART_BEFORE_S)
            # Pooled connections outlive the silence; these containers' don't, and can't be dialled before it ends.
            stage.engine.stop("potter")
            stage.engine.start("potter")
            time.sleep(max(0.0, silent + dead_s - time.time()))
            for edge in edges:
                counters = stage.engine.in_network_of(edge, "iptables", "--list", "INPUT", "--verbose", "--exact")
                dropped[edge] = int(counters.splitlines()[2].split()[0])
            spoke = time.time()
            for edge in edges:
                stage.engine.in_network_of(edge, "iptables", "--delete", *rule)
            time.sleep(15)
        rows: list[Row] = []
        for edge in edges:
            ours = of(load.outcomes, edge)
            dead = begun(ours, silent, spoke)
            late = [outcome.began for outcome in ours if outcome.began >= spoke and outcome.failed]
            waited = [outcome.ended for outcome in ours if outcome.began < spoke < outcome.ended]
            rows.append(
                {
                    "edge": edge,
                    "dropped": dropped[edge],
                    "requests": len(dead),
                    "failed": failed(dead),
                    "failed_before": failed(begun(ours, 0, silent)),
                    "waited": len(waited),
                    "recovered_ms": round((max(late + waited, default=spoke) - spoke) * 1000),
                    "up": "yes" if stage.engine.running(edge) else "no",
                }
            )
    return rows


def scale(edges: list[str], files: Path) -> list[Row]:
    """thor's app gets two more containers, and loses them again."""
    with Stage.set(edges, files) as stage:
        stage.start_apps()
        stage.start_edges()
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
        ours = of(load.outcomes, edge, "thor")
        firsts: dict[str | None, float] = {}
        for outcome in sorted(ours, key=lambda outcome: outcome.ended):
            firsts.setdefault(outcome.container, outcome.ended)
        containers = {name: ended for name, ended in firsts.items() if name}
        rows.append(
            {
                "edge": edge,
                "all_three_s": round(max(containers.values()) - ready, 1) if len(containers) == 3 else None,
                "failed_up": failed([outcome for outcome in ours if outcome.began < down]),
                "failed_down": failed([outcome for outcome in ours if outcome.began >= down]),
                "potter_failed": failed(of(load.outcomes, edge, "potter")),
            }
        )
    return rows


def down(edges: list[str], files: Path) -> list[Row]:
    """thor is gone for good: what an answer takes, when whatever an edge waits for is over."""
    with Stage.set(edges, files) as stage:
        stage.start_apps()
        stage.start_edges()
        load = stage.load(RATE, GETS)
        with load.running(files):
            time.sleep(3)
            stage.engine.stop("thor")
            time.sleep(HOLD_OVER_S)
            after = time.time()
            say("a minute without thor")
            time.sleep(60)
            until = time.time()
            told = {edge: len(stage.engine.errors_since(edge, after)) for edge in edges}
    rows: list[Row] = []
    for edge in edges:
        thor = begun(of(load.outcomes, edge, "thor"), after, until)
        statuses = Counter(outcome.status or outcome.error for outcome in thor)
        rows.append(
            {
                "edge": edge,
                "requests": len(thor),
                "statuses": ", ".join(f"{status}: {count}" for status, count in statuses.most_common()),
                "p50_ms": took_ms(thor, 0.50),
                "p99_ms": took_ms(thor, 0.99),
                "max_ms": took_ms(thor, 1),
                "logged_max_ms": longest_logged_ms(files / f"{edge}.out", {outcome.path for outcome in thor}),
                "lines": told[edge],
                "potter_failed": failed(of(load.outcomes, edge, "potter")),
            }
        )
    return rows


def longest_logged_ms(log: Path, paths: set[str]) -> float | None:
    """The longest of those requests by the edge's own log, which only hostler's has a line of JSON a request for."""
    times = []
    for line in log.read_text().splitlines():
        _, _, entry = line.partition(" ")  # the engine's time stands before it
        if entry.startswith("{") and (request := json.loads(entry)).get("path") in paths:
            times.append(request["duration_ms"])
    return max(times, default=None)
