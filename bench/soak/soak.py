"""Mixed good and hostile traffic for some minutes, and what is left of it in the edge.

Owns what is judged. The traffic is good.py's and hostile.py's, each a process of its own.
"""

import http.client
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge import HERE, Edge, Sample, end, eventually, started

SETTLE_S = 3
# After the load: the longest time-out of the edge, its pool's 1.5 s, and what a busy machine takes.
IDLE_S = 60
RELOAD_EVERY_S = 3
RSS_LEFT_KIB_MAX = 16 * 1024
RSS_GROWTH_MAX = 1.10
# By then everything has happened often enough that what is kept for reuse has been made.
PLATEAU_S = 180

RELOADS = (
    '\n[routes.ron]\nhosts = "ron.test"\nupstream = "http://127.0.0.1:{thor}"\n',
    '\n[routes.thor.response_headers]\nset = {{ X-Reloaded = "yes" }}\n',
    "\nthis is not TOML\n",
    "",
)


def soak(binary: Path, files: Path, duration_s: float) -> dict[str, Any]:
    with started(binary, files) as edge:
        time.sleep(SETTLE_S)
        before = edge.sample()
        good, hostile = (client(name, edge, duration_s) for name in ("good", "hostile"))
        try:
            began = time.monotonic()
            samples = watch(edge, duration_s)
            tallies = [tally(process) for process in (good, hostile)]
        finally:
            for process in (good, hostile):
                end(process)
        # Nothing more is to be reloaded; this one is what it began with.
        edge.reload("")
        after, idle_s = idle(edge, before)
        return {
            "duration_s": round(duration_s),
            "load_s": round(time.monotonic() - began - idle_s),
            "before": asdict(before),
            "peak": {name: max(getattr(sample, name) for sample in samples) for name in asdict(before)},
            "plateau_rss_kib": median_rss(samples, min(PLATEAU_S, 0.3 * duration_s)),
            "end_rss_kib": median_rss(samples, duration_s - 10),
            "after": asdict(after),
            "idle_after_s": round(idle_s, 1),
            "cpu_s": round(edge.cpu_s(), 1),
            "alive": edge.alive(),
            "good": tallies[0],
            "hostile": tallies[1],
            "reloads": dict(Counter(message for message in edge.messages() if message.startswith("configuration "))),
            "bad_events": [event for event in edge.events() if is_bad(event)][:10],
            "log": logged(edge),
            "smuggled": sum(smuggled(edge, tenant) for tenant in ("thor", "potter", "loki")),
        }


def is_bad(event: dict[str, Any]) -> bool:
    """An error that we didn't ask for, or what isn't JSON, a panic for one."""
    return event["level"] in ("ERROR", "NOT JSON") and event["message"] != "configuration rejected"


def client(name: str, edge: Edge, duration_s: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, HERE / f"{name}.py", str(edge.port), str(duration_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def tally(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What a client says at its end, which is a minute after its last request at the latest."""
    output, _ = process.communicate(timeout=120)
    return json.loads(output.splitlines()[-1])


def watch(edge: Edge, duration_s: float) -> list[Sample]:
    """Samples each second, reloads every few."""
    samples: list[Sample] = []
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < duration_s:
        samples.append(edge.sample())
        if len(samples) % RELOAD_EVERY_S == 0:
            edge.reload(RELOADS[len(samples) // RELOAD_EVERY_S % len(RELOADS)].format(**edge.apps))
        if len(samples) % 60 == 0:
            print(f"{elapsed:5.0f} s  {samples[-1]}", flush=True)
        time.sleep(max(0, began + len(samples) - time.monotonic()))
    return samples


def median_rss(samples: list[Sample], at_s: float) -> int:
    """Of the ten seconds from then on. There is one sample a second."""
    window = samples[int(at_s) :][:10] or samples[-10:]
    return round(statistics.median(sample.rss_kib for sample in window))


def idle(edge: Edge, before: Sample) -> tuple[Sample, float]:
    """Waits until the edge holds no more than it began with, or for as long as it may take."""
    began = time.monotonic()

    def quiet() -> bool:
        now = edge.sample()
        return (now.descriptors, now.threads) == (before.descriptors, before.threads)

    try:
        eventually("what it began with", quiet, IDLE_S)
    except AssertionError:
        pass
    waited = time.monotonic() - began
    # Memory is given back by the sweeps of the second after.
    time.sleep(2)
    return edge.sample(), waited


def logged(edge: Edge) -> dict[str, Any]:
    """What the access log says of the good requests, and how many lines of each error it has."""
    lines: Counter[str] = Counter()
    wrong, errors, smuggled = [], Counter(), 0
    for line in edge.access():
        path = line.get("path") or ""
        if path.startswith("/g/"):
            lines[path] += 1
            if line["error"] is not None:
                wrong.append(line)
        elif path.startswith("/h/smuggled"):
            smuggled += 1
        if line.get("level") == "NOT JSON":
            wrong.append(line)
        elif not path.startswith("/g/"):
            errors[str(line["error"])] += 1
    twice = sum(count > 1 for count in lines.values())
    return {"good": len(lines), "twice": twice, "wrong": wrong[:10], "others": dict(errors), "smuggled": smuggled}


def smuggled(edge: Edge, tenant: str) -> int:
    """How many requests for /h/smuggled have arrived, as the app itself says."""
    connection = http.client.HTTPConnection("127.0.0.1", edge.apps[tenant], timeout=10)
    connection.request("GET", "/h/count/0")
    return int(connection.getresponse().read())


def verdicts(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """What is judged: what it is, how it turned out, and whether that will do."""
    before, after, peak, log = (figures[name] for name in ("before", "after", "peak", "log"))
    failed = sum(figures["good"]["failed"].values())
    asked = figures["good"]["statuses"]["asked"]
    outstayed = sum(figures["hostile"]["failed"].values())
    plateau, last = figures["plateau_rss_kib"], figures["end_rss_kib"]
    left = after["rss_kib"] - before["rss_kib"]
    return [
        ("good requests that failed", f"{failed} of {asked:,}", failed == 0 and asked > 0),
        (
            "good requests without their one line in the access log, or with an error there",
            f"{asked - log['good'] + log['twice'] + len(log['wrong'])}",
            (log["good"], log["twice"], log["wrong"]) == (asked, 0, []),
        ),
        ("hostile connections that the edge should have ended and didn't", f"{outstayed}", outstayed == 0),
        (
            "requests that an app saw and the access log didn't",
            f"{max(0, figures['smuggled'] - log['smuggled'])}",
            figures["smuggled"] <= log["smuggled"],
        ),
        (
            "open descriptors before / most / after",
            f"{before['descriptors']} / {peak['descriptors']:,} / {after['descriptors']}",
            before["descriptors"] == after["descriptors"],
        ),
        (
            "threads before / most / after",
            f"{before['threads']} / {peak['threads']} / {after['threads']}",
            before["threads"] == after["threads"],
        ),
        (
            "resident memory before / most / after, MiB (16 more at most)",
            f"{mib(before['rss_kib'])} / {mib(peak['rss_kib'])} / {mib(after['rss_kib'])}",
            left <= RSS_LEFT_KIB_MAX,
        ),
        (
            "resident memory at the plateau / at the end of the load, MiB (10 % more at most)",
            f"{mib(plateau)} / {mib(last)}",
            last <= plateau * RSS_GROWTH_MAX,
        ),
        (
            "lives, without a panic and without an error in its events",
            "yes" if figures["alive"] and not figures["bad_events"] else "no",
            figures["alive"] and not figures["bad_events"],
        ),
    ]


def mib(kib: int) -> str:
    return f"{kib / 1024:.1f}"
