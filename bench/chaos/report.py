"""The figures as people read them.

Owns measured.json, which has the latest rows of each scenario, and the part of docs/measured.md between its two marks.
"""

import json
import textwrap
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine import command
from scenarios import Row
from stage import EDGES, HERE, PROJECT

FIGURES = HERE / "measured.json"
PAGE = PROJECT / "docs/measured.md"
BEGIN, END = "<!-- bench/chaos: begin -->", "<!-- bench/chaos: end -->"


@dataclass(frozen=True)
class Table:
    """What it is called, what it shows, and its columns: of each, the figure, and what it is called."""

    title: str
    what: str
    columns: dict[str, str]


AWAY_AND_BACK = Table(
    "thor's container goes and comes back",
    "GETs alone; an event every 15 s. *Back* is the longest time from the moment when the app was about to accept to the "
    "first good answer. *Waited* are the requests from before that moment that were answered after it, and how late that "
    "was counted from it. potter's p99 is before the first event, and since.",
    {
        "edge": "edge",
        "event": "event",
        "requests": "requests to thor",
        "thor_failed": "failed, thor",
        "potter_failed": "failed, potter",
        "wrong_answers": "answered by the other tenant",
        "back_ms": "back, ms",
        "waited": "waited",
        "waited_p99_ms": "p99 of how late, ms",
        "potter_p99_quiet_ms": "p99 potter before, ms",
        "potter_p99_ms": "p99 potter since, ms",
    },
)

# By scenario; those of one kind share a table.
TABLES = {
    "swap": Table(
        "Two tenants take each other's addresses",
        "Both `*_web` stop, and start in the other order. Half of the requests are on new connections, half on kept "
        "ones, and of either half every other one is a POST.",
        {
            "edge": "edge",
            "swaps": "swaps",
            "requests": "requests",
            "wrong_answers": "answered by the other tenant",
            "wrong_arrivals": "arrived at the other tenant's app",
            "posts_twice": "POSTs that arrived twice",
            "failed_get": "failed GETs",
            "failed_post": "failed POSTs",
        },
    ),
    "restart": AWAY_AND_BACK,
    "recreate": AWAY_AND_BACK,
    "kill": AWAY_AND_BACK,
    "edge-first": Table(
        "The edge starts before any tenant",
        "From the moment when a tenant's app was about to accept to its first good answer.",
        {"edge": "edge", "up": "up without tenants", "thor_first_ms": "thor, ms", "potter_first_ms": "potter, ms"},
    ),
    "dns-dead": Table(
        "No name service for 30 s",
        "What 127.0.0.11 answers is dropped in the edge's network namespace. *Recovered* is when the last request "
        "that failed began, counted from the return of the name service.",
        {
            "edge": "edge",
            "requests": "requests meanwhile",
            "failed": "failed",
            "recovered_ms": "recovered, ms",
            "up": "still up",
        },
    ),
    "scale": Table(
        "thor from one container to three, and back",
        "*All three* counts from the start of the last one; a dash means not within ten seconds.",
        {
            "edge": "edge",
            "all_three_s": "all three answer, s",
            "failed_up": "failed on the way up",
            "failed_down": "failed on the way down",
            "potter_failed": "failed, potter",
        },
    ),
    "down": Table(
        "thor down for good",
        "A minute of requests to thor, from 15 s after its end on.",
        {
            "edge": "edge",
            "requests": "requests",
            "statuses": "answers",
            "p50_ms": "p50, ms",
            "p99_ms": "p99, ms",
            "lines": "lines on stderr",
            "potter_failed": "failed, potter",
        },
    ),
}


def keep(scenario: str, rows: list[Row], rate: int) -> None:
    """Takes the rows of a run in, instead of those that the scenario had of the same edges."""
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    measured = {row["edge"] for row in rows}
    before = figures.get(scenario, {}).get("rows", [])
    rows = rows + [row for row in before if row["edge"] not in measured]
    figures[scenario] = {
        "day": time.strftime("%Y-%m-%d"),
        "commit": command("git", "-C", str(PROJECT), "log", "-1", "--format=%h", "--", "src", "Cargo.lock"),
        "rate": rate,
        "rows": sorted(rows, key=lambda row: list(EDGES).index(str(row["edge"]))),
    }
    FIGURES.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    write_page(figures)


def table(scenario: str, rows: list[Row]) -> str:
    columns = TABLES[scenario].columns
    lines = [list(columns.values()), ["---"] * len(columns)]
    lines += [[cell(key, row.get(key)) for key in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(key: str, value: str | float | None) -> str:
    """A figure that there is none of, because what it measures never came, is a dash."""
    if value is None:
        return "–"
    if key == "edge":
        return EDGES[str(value)].title
    return f"{value:,}" if isinstance(value, int) else str(value)


def unique(tables: Iterable[Table]) -> list[Table]:
    return list({table.title: table for table in tables}.values())


def write_page(figures: dict[str, Any]) -> None:
    parts = [BEGIN]
    for shown in unique(TABLES.values()):
        scenarios = [name for name, table in TABLES.items() if table == shown and name in figures]
        if not scenarios:
            continue
        rows = [row for name in scenarios for row in figures[name]["rows"]]
        last = figures[scenarios[-1]]
        measured = f"{last['rate']} requests/s to each tenant through each edge; {last['day']}, hostler as of {last['commit']}."
        parts += [f"### {shown.title}", textwrap.fill(f"{shown.what} {measured}", 116), table(scenarios[0], rows)]
    section = "\n\n".join([*parts, END])
    before, rest = PAGE.read_text().split(BEGIN, 1)
    PAGE.write_text(before + section + rest.split(END, 1)[1])
