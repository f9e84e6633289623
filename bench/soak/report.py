"""The figures as people read them.

Owns measured.json, which has the latest run of each sort, and the part of docs/measured.md between its two marks.
"""

import json
import os
import subprocess
import textwrap
import time
from typing import Any

from edge import HERE, PROJECT

FIGURES = HERE / "measured.json"
PAGE = PROJECT / "docs/measured.md"
BEGIN, END = "<!-- bench/soak: begin -->", "<!-- bench/soak: end -->"
TITLES = {"soak": "Mixed good and hostile traffic", "bodies": "Large bodies", "sse": "Events"}
Verdicts = list[tuple[str, str, bool]]


def keep(name: str, figures: dict[str, Any], verdicts: Verdicts) -> None:
    """Takes a run in, instead of the last of its sort."""
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    git = ["git", "-C", str(PROJECT), "log", "-1", "--format=%h", "--", "src", "Cargo.lock"]
    kept[name] = {
        "day": time.strftime("%Y-%m-%d"),
        "commit": subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip(),
        "cores": os.cpu_count(),
        "verdicts": verdicts,
        "figures": figures,
    }
    FIGURES.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    section = "\n\n".join([BEGIN, *(part for name in TITLES if name in kept for part in parts(name, kept[name])), END])
    before, rest = PAGE.read_text().split(BEGIN, 1)
    PAGE.write_text(before + section + rest.split(END, 1)[1])


def parts(name: str, run: dict[str, Any]) -> list[str]:
    of = {"soak": traffic, "bodies": transfers, "sse": lambda _figures: []}[name]
    when = f"{run['day']}, hostler as of {run['commit']}, {run['cores']} cores, clients and apps on the same machine."
    judged = [[what, value, "yes" if good else "**no**"] for what, value, good in run["verdicts"]]
    return [f"### {TITLES[name]}", fill(when), table(["what is judged", "figures", "good"], judged), *of(run["figures"])]


def traffic(figures: dict[str, Any]) -> list[str]:
    minutes = figures["duration_s"] / 60
    reloads = ", ".join(f"{count} {what.removeprefix('configuration ')}" for what, count in figures["reloads"].items())
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(figures["hostile"]["statuses"].items()))
    told = (
        f"{minutes:.3g} minutes of load; reloads: {reloads}; {figures['cpu_s']:.0f} s of CPU; back to what it held "
        f"before {figures['idle_after_s']} s after the last client. What hostile connections got, where they waited "
        f"for it: {statuses}."
    )
    rows = []
    for side in ("good", "hostile"):
        tally = figures[side]
        kinds = sorted(tally["done"].keys() | tally["failed"].keys() | tally["skipped"].keys())
        rows += [[side, kind, *(f"{tally[of].get(kind, 0):,}" for of in ("done", "failed", "skipped"))] for kind in kinds]
    return [fill(told), table(["traffic", "kind", "times", "failed", "left out, too many at once"], rows)]


def transfers(figures: dict[str, Any]) -> list[str]:
    names = {
        "way": "way",
        "framing": "framing",
        "bytes": "bytes",
        "seconds": "s",
        "mib_per_s": "MiB/s",
        "cpu_s": "CPU of the edge, s",
        "peak_rss_kib": "most memory, KiB",
    }
    rows = [[cell(transfer[key]) for key in names] for transfer in figures["transfers"]]
    return [table(list(names.values()), rows)]


def cell(value: str | float) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(columns: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *rows))


def fill(text: str) -> str:
    return textwrap.fill(text, 116)
