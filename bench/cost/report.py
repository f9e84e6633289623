"""The figures as people read them, and whether they are what they should be.

Owns measured.json, which has the latest run of each part, docs/performance-*.svg, and the part of docs/performance.md between
its two marks.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import peers
import plot
from edge import PROJECT
from edges import EDGES
from workloads import WORKLOADS

FIGURES = Path(__file__).resolve().parent / "measured.json"
PAGE = PROJECT / "docs/performance.md"
BEGIN, END = "<!-- bench/run: begin -->", "<!-- bench/run: end -->"
MODES = {"one": "One core, one worker", "two": "Two cores, two workers, which the load and the app share"}
# CPU a request as a ratio to that of an edge in the same rounds; in both modes where both were measured.
RATIOS = [
    ("small-64", "nginx", 0.88),
    ("small-64", "nginx-tutorial", 0.25),
    ("log-64", "nginx", 0.95),
    ("log-64", "nginx-log-buffered", 0.95),
    ("small-512", "nginx", 0.95),
    ("16k-64", "nginx", 0.95),
    ("browser-64", "nginx", 0.95),
    ("small-1", "nginx", 1.00),
    ("new-64", "nginx", 1.00),
    ("down-1m", "nginx", 0.40),
    ("up-10m", "nginx", 0.70),
    ("echo-64", "nginx", 0.95),
]


def keep(part: str, figures: dict[str, Any], how: str) -> None:
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    kept[part] = {"of": about(how), "figures": figures}
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n")
    show(kept)


def show(kept: dict[str, Any]) -> None:
    for mode in [mode for mode in MODES if mode in kept]:
        title = f"CPU a request to that of tuned nginx: {MODES[mode].lower()}"
        (PROJECT / f"docs/performance-{mode}.svg").write_text(plot.picture(kept[mode]["figures"], title))
    before, rest = PAGE.read_text().split(BEGIN, 1)
    PAGE.write_text(before + "\n\n".join([BEGIN, *sections(kept), END]) + rest.split(END, 1)[1])


def about(how: str) -> dict[str, Any]:
    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT).stdout.strip()

    model = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    changed = said("git", "status", "--porcelain", "--", "src", "Cargo.lock")
    return {
        "day": time.strftime("%Y-%m-%d"),
        "commit": said("git", "log", "-1", "--format=%h", "--", "src", "Cargo.lock") + (", changed" if changed else ""),
        "machine": f"{os.cpu_count()} cores of {model[0] if model else platform.processor()}, Linux {platform.release()}",
        "versions": [f"nginx {said('sh', '-c', 'nginx -v 2>&1').split('/')[-1]}", f"HAProxy {said('haproxy', '-v').split()[2]}", *peers.VERSIONS],
        "command": how,
    }


def sections(kept: dict[str, Any]) -> list[str]:
    return [bars(kept), *(part for name in (*MODES, "idle", "hosts", "files") if name in kept for part in of_part(name, kept[name]))]


def bars(kept: dict[str, Any]) -> str:
    rows = []
    for load, to, bar in RATIOS:
        for mode in MODES:
            rounds = kept.get(mode, {}).get("figures", {}).get(load, {})
            if "hostler" in rounds and to in rounds:
                title = f"{WORKLOADS[load].title}, {mode} core{'s' if mode == 'two' else ''}: CPU a request"
                rows.append(judged(title, f"≤ {bar:.2f} × {EDGES[to].title}", ratio(rounds, to, "cpu_us"), lambda v, bar=bar: v <= bar))
    for mode in MODES:
        rounds = kept.get(mode, {}).get("figures", {}).get("small-64", {})
        if "hostler" in rounds and "nginx" in rounds:
            rows.append(judged(f"small GET, 64 connections, {mode}: p99", "≤ 1.00 × nginx, tuned", ratio(rounds, "nginx", "p99_us"), lambda v: v <= 1))
            rows.append(judged(f"small GET, 64 connections, {mode}: requests/s", "≥ 1.00 × nginx, tuned", ratio(rounds, "nginx", "per_s"), lambda v: v >= 1))
    if idle := kept.get("idle", {}).get("figures", {}).get("hostler"):
        rows.append(judged("an idle connection, KiB", "≤ 6", idle["bytes_each"] / 1024, lambda v: v <= 6))
        rows.append(judged("after the start with two tenants, MiB", "≤ 10", idle["before_kib"] / 1024, lambda v: v <= 10))
    if many := kept.get("hosts", {}).get("figures", {}).get("hostler", {}).get("100000"):
        rows += [
            judged("100,000 tenants: start to first answer, s", "≤ 0.5", many["start_s"], lambda v: v <= 0.5),
            judged("100,000 tenants: memory, MiB", "≤ 60", many["memory_kib"] / 1024, lambda v: v <= 60),
            judged("100,000 tenants, of which 64 are asked for: CPU a request to that with two", "≤ 1.05", many["hot_of_two"], lambda v: v <= 1.05),
            judged("100,000 tenants, asked for one after the other: CPU a request to that with two", "≤ 1.05", many["all_of_two"], lambda v: v <= 1.05),
            judged("100,000 tenants and one more: served after, s", "≤ 0.5", many["added_s"], lambda v: v is not None and v <= 0.5),
            judged("100,000 tenants and one more: failed requests", "0", many["added_failed"], lambda v: v == 0),
            judged("100,000 tenants and one more: memory to before", "≤ 1.10", many["after_of_before"], lambda v: v <= 1.1),
            judged("100,000 tenants, one's own file changed: CPU, ms", "≤ 20", many["own_file_cpu_ms"], lambda v: v <= 20),
        ]
    return "### Every bar\n\n" + table(["what", "bar", "measured", "verdict"], rows)


def judged(what: str, bar: str, value: float | None, met: Callable[[Any], bool]) -> list[str]:
    return [what, bar, "–" if value is None else f"{value:.2f}", "met" if met(value) else "**not met**"]


def ratio(rounds: dict[str, list[dict[str, float]]], to: str, of: str) -> float:
    """The median over the rounds of hostler's to another's in the same round."""
    return median(ours[of] / theirs[of] for ours, theirs in zip(rounds["hostler"], rounds[to]))


def of_part(name: str, part: dict[str, Any]) -> list[str]:
    of, figures = part["of"], part["figures"]
    when = f"{of['day']}, hostler as of {of['commit']}, {', '.join(of['versions'])}; {of['machine']}. `{of['command']}`"
    if name == "idle":
        rows = [[EDGES[edge].title, f"{one['before_kib'] / 1024:.1f}", f"{one['bytes_each'] / 1024:.2f}"] for edge, one in figures.items()]
        return ["### Idle connections", when, table(["edge", "after the start, MiB", "an idle connection, KiB"], rows)]
    if name == "hosts":
        return ["### Many tenants", when, table(HOSTS, [host_row(edge, count, one) for edge, counts in figures.items() for count, one in counts.items()])]
    if name == "files":
        rows = [[f"{int(count):,}", f"{one['start_s']:.2f}", f"{one['memory_kib'] / 1024:.1f}", f"{one['rest_cpu_ms_a_second']:.1f}", f"{one['changed_cpu_ms']:.1f}"] for count, one in figures.items()]
        return ["### A file for each tenant", when, table(["tenants", "start, s", "memory, MiB", "at rest, ms of CPU a second", "one changed, ms of CPU"], rows)]
    heads = ["workload", "edge", "CPU a request, µs", "user", "system", "to nginx, tuned", "requests/s", "p50, ms", "p99, ms", "failed", "memory, MiB"]
    rows = [row(load, edge, rounds) for load, rounds in figures.items() for edge in rounds]
    return [f"### {MODES[name]}", when, f"![{MODES[name]}: CPU a request, as a ratio to that of tuned nginx](performance-{name}.svg)", table(heads, rows)]


HOSTS = [
    "edge", "tenants", "start, s", "memory, MiB", "64 asked for: CPU a request, µs", "to that with two", "all asked for: CPU a request, µs",
    "to that with two", "memory then, MiB", "one more served after, s", "CPU till then, the load's included, ms", "failed meanwhile", "peak, MiB", "memory to before",
]


def host_row(edge: str, count: str, one: dict[str, Any]) -> list[str]:
    def shown(name: str, scale: float = 1, places: int = 2) -> str:
        return "–" if one.get(name) is None else f"{one[name] / scale:.{places}f}"

    start = "not in two minutes" if one["start_s"] is None else shown("start_s")
    asked = [shown("hot_us", places=1), shown("hot_of_two"), shown("all_us", places=1), shown("all_of_two"), shown("asked_kib", 1024, 1)]
    # Of processes that have ended meanwhile, as HAProxy's do, it can't be told any more.
    spent = shown("added_cpu_ms_with_load", places=0) if one.get("added_cpu_ms_with_load", -1) >= 0 else "–"
    more = [shown("added_s"), spent, shown("added_failed", places=0), shown("peak_kib", 1024, 0), shown("after_of_before")]
    return [EDGES[edge].title, f"{int(count):,}", start, shown("memory_kib", 1024, 1), *asked, *more]


def row(load: str, edge: str, rounds: dict[str, list[dict[str, float]]]) -> list[str]:
    mine = rounds[edge]
    of = {name: median(one[name] for one in mine) for name in mine[0]}
    ratio_to = median(one["cpu_us"] / base["cpu_us"] for one, base in zip(mine, rounds["nginx"])) if "nginx" in rounds else None
    return [
        WORKLOADS[load].title, EDGES[edge].title, f"{of['cpu_us']:.1f}", f"{of['user_us']:.1f}", f"{of['system_us']:.1f}",
        "–" if ratio_to is None else f"{ratio_to:.2f}", f"{of['per_s']:,.0f}", f"{of['p50_us'] / 1e3:.2f}", f"{of['p99_us'] / 1e3:.2f}",
        f"{sum(one['failed'] for one in mine):,.0f}", f"{of['memory_kib'] / 1024:.1f}",
    ]


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
