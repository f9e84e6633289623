"""What was promised of one tenant's flood, line by line, and whether the figures keep it.

Pure: it judges rows. A row with fewer or shorter rounds than a full run has keeps nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from figures import STATES, Row

FULL = {"rounds": 5, "seconds": 6.0}
# Those beyond the limits of a tenant are refused at once, with this.
REFUSED = "503 queue_full"
# p99 through the edge, to that beside it; and MiB by which the edge may grow.
RATIOS = {"keepalive": 1.5, "new": 2.0, "hang": 1.1, "slow-readers": 1.2, "slow-writers": 1.2, "uploads": 2.0}
GROWTH_MIB: dict[str, tuple[str, float]] = {"hang": ("<", 32), "slow-readers": ("≤", 64), "slow-writers": ("≤", 64)}
# Of a flood that hangs, when its deadline has been over for two seconds: what the allocator keeps for a thread, and its tables.
LEFT_MIB = 2
REFUSED_MS = 10
SCRAPE_MS = 100


@dataclass(frozen=True)
class Line:
    what: str
    bar: str
    # None where there was nothing to measure.
    measured: Callable[[Row], float | None]
    met: Callable[[float], bool]
    shown: str = "{:.2f}"

    def judged(self, row: Row) -> list[str]:
        value = self.measured(row)
        return [self.what, self.bar, "–" if value is None else self.shown.format(value), self.verdict(row, value)]

    def verdict(self, row: Row, value: float | None) -> str:
        if len(row["rounds"]) < FULL["rounds"] or row["seconds"] < FULL["seconds"]:
            return "measured too briefly"
        return "met" if value is not None and self.met(value) else "**not met**"


def lines(row: Row) -> Iterator[Line]:
    """What was promised of hostler in the scenario of a row."""
    name = row["scenario"]
    title = name if name == "scrape" else f"{name}, {row['workers']} worker{'s' if row['workers'] > 1 else ''}"
    if name in RATIOS:
        bar = RATIOS[name]
        yield Line(f"{title}: potter's p99 to that beside the flood", f"≤ {bar} ×", ratio, lambda value: value <= bar)
    if name in GROWTH_MIB:
        sign, mib = GROWTH_MIB[name]
        yield Line(f"{title}: growth of the edge, MiB", f"{sign} {mib}", growth_mib, lambda value: value < mib or sign == "≤" and value == mib, "{:.1f}")
    if name == "hang":
        yield Line(f"{title}: left of that 2 s after the deadline, MiB", f"≤ {LEFT_MIB}", left_mib, lambda value: value <= LEFT_MIB, "{:.1f}")
        yield Line(f"{title}: a refusal beyond the limits, p99 in ms", f"< {REFUSED_MS}", refused_ms, lambda value: value < REFUSED_MS)
    if name == "scrape":
        yield Line(f"{title}: a scrape of {row['tenants']:,} tenants, ms", f"≤ {SCRAPE_MS}", scrape_ms, lambda value: value <= SCRAPE_MS, "{:.1f}")
    yield Line(f"{title}: potter's failed requests", "0", failures, lambda value: value == 0, "{:.0f}")


def ratio(row: Row) -> float:
    """The median over the rounds of p99 through the edge to p99 beside it, or without a flood, where none goes past."""
    def base(one: dict[str, Any]) -> dict[str, Any]:
        return one.get("beside", one["alone"])

    return median(one["through"]["potter"]["p99_us"] / base(one)["potter"]["p99_us"] for one in row["rounds"])


def growth_mib(row: Row) -> float:
    return median(one["through"]["memory_kib"] for one in row["rounds"]) / 1024


def left_mib(row: Row) -> float:
    return median(one["through"]["left_kib"] for one in row["rounds"]) / 1024


def refused_ms(row: Row) -> float | None:
    """The p99 of each round, and the median of those."""
    seen = [one["through"].get("further", {}).get(REFUSED) for one in row["rounds"]]
    p99s = [one["p99_us"] / 1e3 for one in seen if one]
    return median(p99s) if p99s else None


def scrape_ms(row: Row) -> float:
    return median(took for one in row["rounds"] for took in one["scrape_ms"])


def failures(row: Row) -> float:
    return sum(one[state]["potter"]["failed"] for one in row["rounds"] for state in STATES if state in one)
