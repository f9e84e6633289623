"""How long an event takes from the app's write to the client's read: through the edge, and without it.

App and client read one clock. Both ways take turns, so that what else the machine does meets both.
"""

import socket
import time
from pathlib import Path
from typing import Any

from bodies import CONFIG
from bulk import read_head
from edge import listening, serving

EVENTS = 1000
EVERY_MS = 4
TURNS = 10
ADDED_MS_MAX = 1.0


def sse(binary: Path, files: Path) -> dict[str, Any]:
    files.mkdir(parents=True)
    with listening(["bulk.py"]) as app, serving(binary, files, CONFIG, {"thor": app}) as edge:
        ports, times = {"direct": app, "edge": edge.port}, {"direct": [], "edge": []}
        for turn in range(TURNS + 1):
            for name, port in ports.items():
                took = stream(port, EVENTS // TURNS)
                # The first turn makes what is made once.
                times[name] += took if turn else []
        return {name: quantiles(took) for name, took in times.items()} | {"every_ms": EVERY_MS}


def stream(port: int, events: int) -> list[float]:
    """The milliseconds that each event took."""
    times = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"GET /events/{events}/{EVERY_MS} HTTP/1.1\r\nHost: thor.test\r\n\r\n".encode())
        with connection.makefile("rb") as stream:
            read_head(stream)
            for line in stream:
                now = time.monotonic_ns()
                if line.startswith(b"data: "):
                    times.append((now - int(line[6:])) / 1e6)
                elif line == b"0\r\n":
                    break
    assert len(times) == events, f"{len(times)} events of {events}"
    return times


def quantiles(times: list[float]) -> dict[str, float]:
    times = sorted(times)
    shown = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99}
    figures = {name: round(times[int(part * len(times))], 3) for name, part in shown.items()}
    return {"events": len(times), **figures, "max_ms": round(times[-1], 3)}


def verdicts(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    rows = []
    for name in ("p50_ms", "p99_ms"):
        direct, edge = figures["direct"][name], figures["edge"][name]
        what = f"{name[:3]} of {figures['edge']['events']:,} events, ms: direct / through the edge (1 more at most)"
        rows.append((what, f"{direct} / {edge}", edge - direct <= ADDED_MS_MAX))
    return rows
