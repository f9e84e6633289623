"""The figures as people read them.

Owns measured.json, which has the latest row of each scenario, edge and number of workers, and the part of docs/measured.md
between its two marks, if it has them.
"""

import json
import os
import platform
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import peers
import verdict
from edge import PROJECT
from edges import EDGES
from figures import STATES, Row

FIGURES = Path(__file__).resolve().parent / "measured.json"
PAGE = PROJECT / "docs/measured.md"
BEGIN, END = "<!-- isolation: begin -->", "<!-- isolation: end -->"
SCRAPE = "scrape"
TITLES = {
    "keepalive": (
        "1,000 connections that ask as fast as they can",
        "Kept connections, each of which asks again as soon as it has its answer.",
    ),
    "new": ("1,000 at a time, a connection for each request", "Each asks once (`Connection: close`), and the next one comes."),
    "hang": (
        "2,000 who ask what is never answered",
        "thor's app accepts and says nothing; who is refused comes again after 0.1 s. hostler's route for thor has "
        "`timeouts.response` at half of the time, so that the deadline falls within it.",
    ),
    "slow-readers": (
        "2,000 who read slowly",
        "Each asks for 10 MiB and takes 512 bytes each half second; who is refused comes again after 1 s.",
    ),
    "slow-writers": (
        "2,000 who write slowly",
        "Each sends a body of 10 MiB, 512 bytes each half second; who is refused comes again after 1 s.",
    ),
    "uploads": ("200 uploads of 100 MiB", "At full speed, one after the other on each of 200 connections."),
    SCRAPE: (
        "Metrics of very many tenants, read once a second",
        "Each tenant has been asked once. The time is until all of it has come; potter's p99 is that without and with it.",
    ),
}
HEADS = [
    "edge", "workers", "p99 through to beside", "p99 alone, ms", "beside", "through", "p50 alone, ms", "beside", "through",
    "failed, potter", "growth of the edge, MiB", "thor's flood", "as of",
]


def keep(rows: list[Row], how: str) -> None:
    """The rows of a run, in the place of those that there were of the same scenario, edge and workers."""
    figures = kept()
    made = {"day": time.strftime("%Y-%m-%d"), "machine": this_machine(), "command": how}
    measured = {key(row) for row in rows}
    others = [row for row in figures if key(row) not in measured]
    figures = [*others, *({**row, **made, "version": version(row["edge"])} for row in rows)]
    write(sorted(figures, key=lambda row: (list(TITLES).index(row["scenario"]), row["workers"], list(EDGES).index(row["edge"]))))


def key(row: Row) -> tuple[str, str, int]:
    return row["scenario"], row["edge"], row["workers"]


def kept() -> list[Row]:
    return json.loads(FIGURES.read_text()) if FIGURES.exists() else []


def write(figures: list[Row]) -> None:
    if figures:
        FIGURES.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    page = PAGE.read_text()
    if BEGIN in page and END in page:
        before, rest = page.split(BEGIN, 1)
        PAGE.write_text(before + rendered(figures) + rest.split(END, 1)[1])


def rendered(figures: list[Row]) -> str:
    """All that is between the marks, with them."""
    parts = [BEGIN]
    if figures:
        parts += ["### Every bar", verdicts(figures)[0]]
    for name in TITLES:
        if rows := [row for row in figures if row["scenario"] == name]:
            parts += section(name, rows)
    return "\n\n".join([*parts, END])


def verdicts(figures: list[Row]) -> tuple[str, bool]:
    """The table of what was promised of hostler in those scenarios, and whether all of it is kept."""
    judged = [line.judged(row) for row in figures if row["edge"] == "hostler" for line in verdict.lines(row)]
    text = table(["what", "bar", "measured", "verdict"], judged) if judged else ""
    return text, all(line[-1] == "met" for line in judged)


def section(name: str, rows: list[Row]) -> list[str]:
    title, what = TITLES[name]
    first = rows[0]
    days = ", ".join(sorted({row["day"] for row in rows}))
    rounds = "–".join(str(number) for number in sorted({len(row["rounds"]) for row in rows}))
    how = f"Rounds: {rounds}, of {first['seconds']:g} s a state; {first['priority']}; {first['machine']}; {days}."
    parts = [f"### {title}", textwrap.fill(f"{what} {how}", 116)]
    if name == SCRAPE:
        return [*parts, table(SCRAPE_HEADS, [scrape_cells(row) for row in rows])]
    parts.append(table(HEADS, [cells(row) for row in rows]))
    if name == "hang":
        parts += [line for row in rows if row["edge"] == "hostler" for line in hang_cells(row)]
    return parts


def cells(row: Row) -> list[str]:
    return [
        EDGES[row["edge"]].title, str(row["workers"]), f"{verdict.ratio(row):.2f}",
        *(middle(row, lambda one, of=of, state=state: one[state]["potter"][of] / 1e3) for of in ("p99_us", "p50_us") for state in STATES),
        f"{verdict.failures(row):.0f}", middle(row, lambda one: one["through"]["memory_kib"] / 1024, 1), flood(row),
        row["version"],
    ]


def flood(row: Row) -> str:
    """What the flood came to through the edge: answers by their status, or bytes where these are what matters."""
    floods = [one["through"]["flood"] for one in row["rounds"]]
    if row["scenario"] in ("uploads", "slow-readers", "slow-writers"):
        moved = median((one["read_bytes"] + one["written_bytes"]) / one["seconds"] for one in floods) / (1 << 20)
        return f"{moved:,.1f} MiB/s on {median(one['open_most'] for one in floods):,.0f} connections"
    statuses = sorted({status for one in floods for status in one["answers"]})
    rates = [f"{status}: {median(one['answers'].get(status, 0) / one['seconds'] for one in floods):,.0f}/s" for status in statuses]
    return ", ".join(rates) or "no answer"


def hang_cells(row: Row) -> list[str]:
    """Of hostler: what a further client met who asked for thor, and what of the memory came back."""
    met: dict[str, list[dict[str, Any]]] = {}
    for one in row["rounds"]:
        for what, seen in one["through"]["further"].items():
            met.setdefault(what, []).append(seen)
    left = middle(row, lambda one: one["through"]["left_kib"] / 1024, 1)
    text = "Ten times a second a further client asked for thor through hostler while the flood held, each on a connection of " \
        f"its own. When all clients had gone, their deadline had passed and 2 s more, the edge held {left} MiB more than before the flood."
    lines = [
        [what, str(sum(one["requests"] for one in seen)), *(f"{median(one[of] for one in seen) / 1e3:.2f}" for of in ("p50_us", "p99_us")),
         f"{max(one['max_us'] for one in seen) / 1e3:.2f}"]
        for what, seen in sorted(met.items())
    ]
    return [textwrap.fill(text, 116), table(["answer", "how often", "p50, ms", "p99, ms", "max, ms"], lines)]


SCRAPE_HEADS = [
    "tenants", "a scrape, ms", "longest, ms", "size, KiB", "p99 without, ms", "with, ms", "with to without", "failed, potter", "as of",
]


def scrape_cells(row: Row) -> list[str]:
    longest = max(took for one in row["rounds"] for took in one["scrape_ms"])
    return [
        f"{row['tenants']:,}", f"{verdict.scrape_ms(row):.1f}", f"{longest:.1f}", middle(row, lambda one: one["bytes"] / 1024, 0),
        *(middle(row, lambda one, state=state: one[state]["potter"]["p99_us"] / 1e3) for state in ("alone", "through")),
        f"{verdict.ratio(row):.2f}", f"{verdict.failures(row):.0f}", row["version"],
    ]


def middle(row: Row, of: Callable[[dict[str, Any]], float], places: int = 2) -> str:
    return f"{median(of(one) for one in row['rounds']):.{places}f}"


def version(edge: str) -> str:
    """Of hostler the commit that its code is of, and whether there are changes to it."""
    if edge == "nginx":
        return said("sh", "-c", "nginx -v 2>&1").split("/")[-1]
    if edge == "haproxy":
        return said("haproxy", "-v").split()[2]
    if edge == "caddy":
        return next(one for one in peers.VERSIONS if one.startswith("Caddy")).split()[1]
    changed = said("git", "status", "--porcelain", "--", "src", "Cargo.lock")
    return said("git", "log", "-1", "--format=%h", "--", "src", "Cargo.lock") + (", changed" if changed else "")


def this_machine() -> str:
    model = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {model[0] if model else platform.processor()}, Linux {platform.release()}"


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT).stdout.strip()


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
