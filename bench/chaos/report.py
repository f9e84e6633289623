"""The figures as people read them.

Owns measured.json, which has the latest rows of each scenario, and the part of docs/measured.md between its two marks.
"""

import json
import textwrap
import time
from dataclasses import dataclass
from typing import Any

from engine import command
from figures import Row
from progress import RATE
from stage import EDGES, HERE, PROJECT
from verdict import LINES

FIGURES = HERE / "measured.json"
PAGE = PROJECT / "docs/measured.md"
BEGIN, END = "<!-- bench/chaos: begin -->", "<!-- bench/chaos: end -->"
# What a row of figures is measured on; a row without it is of an older kind.
MADE = ("day", "commit")
PEER = "nginx"


@dataclass(frozen=True)
class Table:
    """What it is called, what it shows, and its columns: of each, the figure, and what it is called."""

    title: str
    what: str
    columns: dict[str, str]


SWAP_COLUMNS = {
    "edge": "edge",
    "rounds": "times",
    "swapped": "swapped",
    "requests": "requests",
    "wrong_answers": "answered by the other tenant",
    "wrong_arrivals": "arrived at the other tenant's app",
    "posts_twice": "POSTs that arrived twice",
    "failed_get": "failed GETs",
    "failed_post": "failed POSTs",
}

TABLES = {
    "swap": Table(
        "Two tenants take each other's addresses",
        "Both `*_web` stop, and start in the other order. Half of the requests are on new connections, half on kept "
        "ones, and of either half every other one is a POST.",
        SWAP_COLUMNS,
    ),
    "swap-own": Table(
        "The same in the shipped layout",
        "Each tenant has a network of its own, as in `docker-compose.yaml`: there an address can't change hands.",
        SWAP_COLUMNS,
    ),
    "away": Table(
        "thor's container goes and comes back",
        "GETs alone; a minute without an event, then a minute with each, every 15 s. *In flight* are failures of requests "
        "that were under way when the container was killed. *Back* is the longest time from the moment when the app was "
        "about to accept to the first good answer. *Waited* are the requests from before that moment that were answered "
        "after it, and how late that was counted from it. potter's p99 is that of the quiet "
        "minute, that of the 7.5 s after the same happened to a container that no edge knows (to start one takes time from "
        "everybody on the machine), and that of the 7.5 s after it happened to thor's.",
        {
            "edge": "edge",
            "event": "event",
            "times": "times",
            "requests": "requests to thor",
            "thor_failed": "failed, thor",
            "thor_in_flight": "of them in flight",
            "potter_failed": "failed, potter",
            "wrong_answers": "answered by the other tenant",
            "back_ms": "back, ms",
            "waited": "waited",
            "waited_p99_ms": "p99 of how late, ms",
            "potter_p99_quiet_ms": "p99 potter, quiet, ms",
            "potter_p99_bystander_ms": "bystander's, ms",
            "potter_p99_ms": "thor's, ms",
        },
    ),
    "lateness": Table(
        "How late those are who had to wait",
        "GETs alone; thor's container is restarted, again and again. Counted from when the app accepts connections, as it "
        "is seen by somebody who dials its container every 2 ms: *seen* is how often that could be told. The last column "
        "counts from when the app itself says that it is about to accept, which is earlier, and "
        "counts wherever it was not seen.",
        {
            "edge": "edge",
            "restarts": "restarts",
            "seen": "seen",
            "requests": "requests to thor",
            "thor_failed": "failed, thor",
            "potter_failed": "failed, potter",
            "waited": "waited",
            "p50_ms": "p50, ms",
            "p99_ms": "p99, ms",
            "max_ms": "max, ms",
            "told_p99_ms": "p99 by the app's word, ms",
        },
    ),
    "edge-first": Table(
        "The edge starts before any tenant",
        "From the moment when a tenant's app was about to accept to its first good answer. thor's starts 5 s after the "
        "first request for it, potter's when requests aren't held any more. *Health* is what the image's own check says.",
        {
            "edge": "edge",
            "up": "up without tenants",
            "health": "health",
            "thor_first_ms": "thor, ms",
            "potter_first_ms": "potter, ms",
        },
    ),
    "dns-dead": Table(
        "No name service for 30 s",
        "What 127.0.0.11 answers is dropped in the edge's network namespace. 5 s before its return potter's container "
        "is restarted. *Waited* are the requests from before the return that were answered after it; *recovered* is when "
        "the last of them was answered, or the last that failed began, counted from the return.",
        {
            "edge": "edge",
            "dropped": "answers dropped",
            "requests": "requests meanwhile",
            "failed": "failed",
            "waited": "waited",
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
        "A minute of requests to thor, from 15 s after its end on. The longest is also told by the edge's own log, where it "
        "has one.",
        {
            "edge": "edge",
            "requests": "requests",
            "statuses": "answers",
            "p50_ms": "p50, ms",
            "p99_ms": "p99, ms",
            "max_ms": "max, ms",
            "logged_max_ms": "max by its log, ms",
            "lines": "lines on stderr",
            "potter_failed": "failed, potter",
        },
    ),
}


def take_in(scenario: str, rows: list[Row], figures: dict[str, list[Row]]) -> None:
    """Adds the rows of a run, in the place of those that the scenario had of the same edges and events."""
    made = dict(zip(MADE, (time.strftime("%Y-%m-%d"), version())))
    measured = {(row["edge"], row.get("event")) for row in rows}
    others = [row for row in figures.get(scenario, []) if (row["edge"], row.get("event")) not in measured]
    edges = list(EDGES)
    figures[scenario] = sorted([*others, *({**row, **made} for row in rows)], key=lambda row: edges.index(str(row["edge"])))


def write(figures: dict[str, list[Row]]) -> None:
    FIGURES.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    write_page(figures)


def kept() -> dict[str, list[Row]]:
    """By scenario. What is of an older kind is left out, and so goes with the next run."""
    figures: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    return {
        name: rows
        for name, rows in figures.items()
        if name in TABLES and isinstance(rows, list) and all(key in row for row in rows for key in MADE)
    }


def version() -> str:
    """The commit that hostler's code is of, and whether there are changes to it."""
    code = ["--", "src", "Cargo.toml", "Cargo.lock", "Dockerfile"]
    commit = command("git", "-C", str(PROJECT), "log", "-1", "--format=%h", *code)
    changed = command("git", "-C", str(PROJECT), "status", "--porcelain", *code)
    return f"{commit}, changed" if changed else commit


def table(columns: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ["---"] * len(columns), *lines])


def rows_table(scenario: str, rows: list[Row]) -> str:
    columns = TABLES[scenario].columns
    return table(list(columns.values()), [[cell(key, row.get(key)) for key in columns] for row in rows])


def cell(key: str, value: str | float | None) -> str:
    """A figure that there is none of, because what it measures never came, is a dash."""
    if value is None:
        return "–"
    if key == "edge":
        return EDGES[str(value)].title
    return f"{value:,}" if isinstance(value, int) else str(value)


def verdicts(figures: dict[str, list[Row]], scenarios: set[str]) -> tuple[str, bool]:
    """The table of what was promised of those scenarios, and whether all of it is kept."""
    lines = []
    for line in LINES:
        if line.scenario not in scenarios:
            continue
        rows = figures.get(line.scenario, [])
        ours, peers = line.of(rows, "hostler"), line.of(rows, PEER)
        commit = str(ours["commit"]) if ours else "–"
        lines.append([line.what, line.bar, line.measured(ours), line.verdict(ours), commit, line.measured(peers)])
    columns = ["line", "bar", "hostler", "verdict", "hostler as of", EDGES[PEER].title]
    return table(columns, lines), all(line[3] == "met" for line in lines)


def write_page(figures: dict[str, list[Row]]) -> None:
    parts = [BEGIN, "### Every line and its bar", verdicts(figures, set(TABLES))[0]]
    for name, shown in TABLES.items():
        if not (rows := figures.get(name)):
            continue
        days = ", ".join(sorted({str(row["day"]) for row in rows}))
        commits = ", ".join(sorted({str(row["commit"]) for row in rows if row["edge"] == "hostler"})) or "no commit"
        measured = f"{RATE} requests/s to each tenant through each edge; {days}, hostler as of {commits}."
        parts += [f"### {shown.title}", textwrap.fill(f"{shown.what} {measured}", 116), rows_table(name, rows)]
    section = "\n\n".join([*parts, END])
    before, rest = PAGE.read_text().split(BEGIN, 1)
    PAGE.write_text(before + section + rest.split(END, 1)[1])
