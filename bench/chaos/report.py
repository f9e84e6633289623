"""The figures as people read them.

Owns measured.json, which has the latest rows of each scenario, and the part of docs/measured.md between its two marks.
"""

import json
import time
from pathlib import Path

from engine import command
from scenarios import Row
from stage import EDGES, HERE, PROJECT

FIGURES = HERE / "measured.json"
PAGE = PROJECT / "docs/measured.md"
BEGIN, END = "<!-- bench/chaos: begin -->", "<!-- bench/chaos: end -->"

# What each scenario's table is called, what it says, and its columns.
TABLES: dict[str, tuple[str, str, dict[str, str]]] = {
    "swap": (
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
    **dict.fromkeys(
        ("restart", "recreate", "kill"),
        (
            "thor's container goes and comes back",
            "GETs alone, every 15 s. *Back* is the longest time from the moment when the app was about to accept to the first "
            "good answer; *waited* are the good answers to requests from before that moment, and how long after it the "
            "last of them came, but for one in a hundred. potter's p99 is before the first event, and since.",
            {
                "edge": "edge",
                "event": "event",
                "requests": "requests to thor",
                "thor_failed": "failed, thor",
                "potter_failed": "failed, potter",
                "wrong_answers": "answered by the other tenant",
                "back_ms": "back, ms",
                "waited": "waited",
                "waited_p99_ms": "p99 of those from then on, ms",
                "potter_p99_quiet_ms": "p99 potter before, ms",
                "potter_p99_ms": "p99 potter since, ms",
            },
        ),
    ),
    "edge-first": (
        "The edge starts before any tenant",
        "From the moment when a tenant's app was about to accept to its first good answer.",
        {"edge": "edge", "up": "up without tenants", "thor_first_ms": "thor, ms", "potter_first_ms": "potter, ms"},
    ),
    "dns-dead": (
        "No name service for 30 s",
        "Packets to 127.0.0.11 are dropped in the edge's network namespace. *Recovered* is when the last request "
        "that failed began, counted from the return of the name service.",
        {
            "edge": "edge",
            "requests": "requests meanwhile",
            "failed": "failed",
            "recovered_ms": "recovered, ms",
            "up": "still up",
        },
    ),
    "scale": (
        "thor from one container to three, and back",
        "*All three* counts from the start of the last one.",
        {
            "edge": "edge",
            "all_three_s": "all three answer, s",
            "failed_up": "failed on the way up",
            "failed_down": "failed on the way down",
            "potter_failed": "failed, potter",
        },
    ),
    "down": (
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
        "commit": command("git", "-C", str(PROJECT), "rev-parse", "--short", "HEAD"),
        "rate": rate,
        "rows": sorted(rows, key=lambda row: list(EDGES).index(str(row["edge"]))),
    }
    FIGURES.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    write_page(figures)


def table(scenario: str, rows: list[Row]) -> str:
    columns = TABLES[scenario][2]
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


def write_page(figures: dict) -> None:
    parts = [BEGIN]
    shown: set[str] = set()
    for scenario, (title, what, _) in TABLES.items():
        # Scenarios of one title share a table.
        alike = [name for name in TABLES if TABLES[name][0] == title and name in figures]
        if title in shown or not alike:
            continue
        shown.add(title)
        rows = [row for name in alike for row in figures[name]["rows"]]
        last = figures[alike[-1]]
        measured = f"{last['rate']} requests/s to each tenant through each edge; {last['day']}, at {last['commit']}."
        parts += [f"### {title}", f"{what} {measured}", table(alike[0], rows)]
    section = "\n\n".join([*parts, END])
    page = PAGE.read_text()
    before, rest = page.split(BEGIN, 1)
    PAGE.write_text(before + section + rest.split(END, 1)[1])
