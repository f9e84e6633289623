"""What was promised of containers that come and go, line by line, and whether the figures keep it.

Pure: it judges rows. A row that was measured with fewer events than its line asks for keeps nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from figures import Row

# How much longer potter's p99 may be for it to be "unchanged": what two quiet minutes differ.
SAME = 1.25


class Shown(dict[str, object]):
    """What wasn't measured of an edge that ended is a dash."""

    def __missing__(self, key: str) -> "Dash":
        return Dash()


class Dash:
    def __format__(self, spec: str) -> str:
        return "–"


@dataclass(frozen=True)
class Line:
    """One promise: in which scenario it is measured, and with which event, where that has several."""

    what: str
    bar: str
    scenario: str
    shown: str
    met: Callable[[Row], bool]
    enough: Callable[[Row], bool] = lambda row: True
    event: str | None = None

    def of(self, rows: list[Row], edge: str) -> Row | None:
        found = (row for row in rows if row["edge"] == edge and self.event in (None, row.get("event")))
        return next(found, None)

    def measured(self, row: Row | None) -> str:
        if row is None:
            return "not measured"
        return self.shown.format_map(Shown({key: value for key, value in row.items() if value is not None}))

    def verdict(self, row: Row | None) -> str:
        if row is None:
            return "not measured"
        if not self.enough(row):
            return "measured too briefly"
        return "met" if self.met(row) else "**not met**"


def none(*keys: str) -> Callable[[Row], bool]:
    return lambda row: all(row.get(key) == 0 for key in keys)


def at_most(row: Row, key: str, limit: float) -> bool:
    value = row.get(key)
    return isinstance(value, int | float) and value <= limit


def at_least(row: Row, key: str, limit: float) -> bool:
    value = row.get(key)
    return isinstance(value, int | float) and value >= limit


def swaps_line(where: str, scenario: str, swapped: Callable[[Row], bool]) -> Line:
    return Line(
        where,
        "wrong answers 0, wrong arrivals 0, POSTs processed twice 0, failed GETs 0",
        scenario,
        "{wrong_answers}, {wrong_arrivals}, {posts_twice}, {failed_get} of {requests:,} requests; {swapped} of {rounds} swapped",
        none("wrong_answers", "wrong_arrivals", "posts_twice", "failed_get"),
        lambda row: at_least(row, "rounds", 50) and swapped(row),
    )


def outage_line(what: str, event: str) -> Line:
    return Line(
        what,
        "failed GETs of thor 0, of potter 0",
        "away",
        "{thor_failed} of {requests:,}, {potter_failed}",
        none("thor_failed", "potter_failed", "wrong_answers"),
        a_minute,
        event,
    )


def potter_line(what: str, event: str) -> Line:
    return Line(
        f"{what}: potter's p99 unchanged",
        f"at most {SAME} × what it is without, or while the same happens to a container that no edge knows",
        "away",
        "{potter_p99_ms} ms; without {potter_p99_quiet_ms}, bystander's {potter_p99_bystander_ms}",
        unchanged,
        a_minute,
        event,
    )


def unchanged(row: Row) -> bool:
    before = [row.get(f"potter_p99_{time}_ms") for time in ("quiet", "bystander")]
    return at_most(row, "potter_p99_ms", SAME * max((p99 for p99 in before if isinstance(p99, int | float)), default=0))


def a_minute(row: Row) -> bool:
    return at_least(row, "times", 4)


LINES = (
    swaps_line("Address swap in the tutorial's one network", "swap", lambda row: at_least(row, "swapped", 50)),
    swaps_line("The same in the shipped layout", "swap-own", lambda row: True),
    outage_line("Restart, 60 s of 50 GETs/s", "restart"),
    potter_line("Restart", "restart"),
    outage_line("Recreate, 60 s", "recreate"),
    potter_line("Recreate", "recreate"),
    Line(
        "`docker kill`, 60 s",
        "failed GETs of thor: only those in flight at the kill; of potter 0",
        "away",
        "{thor_failed} of {requests:,}, {thor_in_flight} of them in flight; {potter_failed}",
        lambda row: row.get("thor_failed") == row.get("thor_in_flight") and none("potter_failed", "wrong_answers")(row),
        a_minute,
        "kill -9, start",
    ),
    potter_line("`docker kill`", "kill -9, start"),
    Line(
        "A request that waited for a restart",
        "p99 at most 100 ms after the app accepts, over 50 restarts; failed 0",
        "lateness",
        "p99 {p99_ms} ms of {waited:,} (p50 {p50_ms}, max {max_ms}), {restarts} restarts, {seen} seen; {thor_failed} failed",
        lambda row: at_most(row, "p99_ms", 100) and none("thor_failed", "potter_failed")(row),
        lambda row: at_least(row, "restarts", 50),
    ),
    Line(
        "Edge first",
        "up and healthy without a tenant; each served within 1 s of its app's answering",
        "edge-first",
        "up: {up}, {health}; thor {thor_first_ms} ms, potter {potter_first_ms} ms",
        lambda row: row["up"] == "yes"
        and row.get("health") == "healthy"
        and at_most(row, "thor_first_ms", 1000)
        and at_most(row, "potter_first_ms", 1000),
    ),
    Line(
        "No name service for 30 s",
        "requests go on, nothing ends, recovered within 1 s",
        "dns-dead",
        "{failed} of {requests:,} failed, up: {up}; the last of {waited} that waited answered after {recovered_ms} ms",
        lambda row: none("failed", "failed_before")(row) and row["up"] == "yes" and at_most(row, "recovered_ms", 1000),
        lambda row: at_least(row, "waited", 1),
    ),
    Line(
        "From one container to three, and back",
        "all three answer within 5 s, failed 0, on the way back 0",
        "scale",
        "all three after {all_three_s} s; failed {failed_up}, {failed_down}",
        lambda row: at_most(row, "all_three_s", 5) and none("failed_up", "failed_down", "potter_failed")(row),
    ),
    Line(
        "Down for good, after the hold",
        "503 in under 5 ms: each by the edge's log, p99 at the client; one line a minute in the log",
        "down",
        "{statuses}; by its log max {logged_max_ms} ms, at the client p50 {p50_ms}, p99 {p99_ms}, max {max_ms} ms; "
        "{lines} line(s)",
        lambda row: row.get("statuses") == f"503: {row['requests']}"
        and at_most(row, "logged_max_ms", 5)
        and at_most(row, "p99_ms", 5)
        and at_most(row, "lines", 2)
        and none("potter_failed")(row),
    ),
)
