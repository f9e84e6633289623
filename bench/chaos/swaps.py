"""Both tenants' containers stop, and start in the other order: in one network they take each other's addresses.

Owns what is counted of that, at the clients and at the apps, in the tutorial's layout and in the shipped one.
"""

import time
from collections import Counter
from pathlib import Path

from figures import Row, failed, of, wrong
from load import MIXED, TENANTS
from progress import RATE, say
from stage import OWN, SHARED, Layout, Stage

# How long things are left alone between two swaps, and before the first.
QUIET_S = 1.5


def swap(edges: list[str], files: Path, swaps: int) -> list[Row]:
    return swaps_in(SHARED, edges, files, swaps)


def swap_own(edges: list[str], files: Path, swaps: int) -> list[Row]:
    """The same where each tenant has a network of its own."""
    return swaps_in(OWN, edges, files, swaps)


def swaps_in(layout: Layout, edges: list[str], files: Path, swaps: int) -> list[Row]:
    with Stage.set(edges, files, layout) as stage:
        stage.start_apps()
        stage.start_edges()
        load = stage.load(RATE, MIXED)
        with load.running(files):
            time.sleep(QUIET_S)
            swapped = 0
            for number in range(1, swaps + 1):
                swapped += swap_once(stage)
                say(f"swap {number} of {swaps}", every=10, number=number)
        arrivals = stage.arrivals()
    seen_twice = Counter((arrival.edge, arrival.path) for arrival in arrivals if arrival.method == "POST")
    rows: list[Row] = []
    for edge in edges:
        ours = of(load.outcomes, edge)
        rows.append(
            {
                "edge": edge,
                "rounds": swaps,
                "swapped": swapped,
                "requests": len(ours),
                "wrong_answers": wrong(ours),
                "wrong_arrivals": sum(arrival.wrong for arrival in arrivals if arrival.edge == edge),
                "posts_twice": sum(count > 1 for (name, _), count in seen_twice.items() if name == edge),
                "failed_get": failed([outcome for outcome in ours if outcome.kind.method == "GET"]),
                "failed_post": failed([outcome for outcome in ours if outcome.kind.method == "POST"]),
            }
        )
    return rows


def swap_once(stage: Stage) -> bool:
    """Whether they have each other's addresses now: the engine hands out the lowest that is free."""
    before = {tenant: stage.app_address(tenant) for tenant in TENANTS}
    stopped = time.time()
    stage.engine.stop(*TENANTS)
    for tenant in sorted(TENANTS, key=lambda tenant: last_number(before[tenant]), reverse=True):
        stage.engine.start(tenant)
    for tenant in TENANTS:
        stage.next_start(tenant, stopped)
    time.sleep(QUIET_S)
    after = {tenant: stage.app_address(tenant) for tenant in TENANTS}
    return [after[tenant] for tenant in TENANTS] == [before[tenant] for tenant in reversed(TENANTS)]


def last_number(address: str) -> int:
    return int(address.rsplit(".", 1)[1])
