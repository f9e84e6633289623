#!/usr/bin/env python3
"""What the page asks an edge, answered without one: 10,000 tenants whose numbers move.

    tests/browser/mock.py [PORT]     0, or none, for a port that the system picks; it is printed

It serves src/admin/page.html anew on each request, so that it can be worked on in a browser. `POST /mistake` with a text
has a reload fail with that, and with none it mends it.
"""

import json
import math
import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = Path(__file__).resolve().parent.parent.parent / "src/admin/page.html"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
TENANTS = 10_000
STATES = ("up", "idle", "aside", "out", "away")
NUMBERS = ("requests_per_second", "p50_ms", "p99_ms", "errors_per_second", "in_flight", "queued")
SORTS = ("tenant", "state", *NUMBERS)
LIMIT_MAX = 500
# No rates are known before the edge has counted for so long.
INTERVAL_S = 1
COLOURS = ("amber", "azure", "blue", "coral", "green", "ivory", "ochre", "red", "rose", "teal", "umber", "white")
THINGS = ("anchor", "beacon", "bridge", "garden", "harbour", "heron", "lantern", "meadow", "orchard", "quarry", "river", "tower")
ERRORS = (("response_timeout", 504), ("connect_refused", 502), ("queue_full", 503), ("rate_limited", 429), ("upstream_closed", 502))

Row = dict[str, Any]


class Tenant:
    def __init__(self, number: int, name: str, state: str, busy: float) -> None:
        chance = random.Random(number)
        self.name = name
        self.hosts = [f"{name}.polls.local"] + [f"www.{name}.example"] * (chance.random() < 0.3)
        self.state = state
        self.rate = 0.0 if state == "idle" else busy
        self.slow_ms = chance.lognormvariate(2.2, 0.9)
        self.failing = {"away": 1.0, "out": 1.0, "aside": 0.2}.get(state, 0.02 * (chance.random() < 0.1))
        self.phase = chance.random() * 6.3
        self.error = chance.choice(ERRORS) if self.failing and self.rate else None
        self.error_age_ms = chance.lognormvariate(9, 2)
        self.limits = {
            "requests": 64 if busy > 40 else 512,
            "queue": 100,
            "connections": 64 if chance.random() < 0.05 else None,
            "rate": "500/s burst 50" if busy > 40 else None,
            "rate_per_client": "10/s" if chance.random() < 0.04 else None,
        }

    def row(self, now: float) -> Row:
        """As it is `now` seconds after the start."""
        rate = self.rate * (1 + 0.3 * math.sin(now / 4 + self.phase))
        asked = self.rate * now
        known = now >= INTERVAL_S
        waiting = rate * self.slow_ms / 1000 * (8 if self.failing else 1)
        flight = min(round(waiting), self.limits["requests"])
        slower = self.slow_ms * (1 + 0.1 * math.cos(now / 3 + self.phase))
        return {
            "tenant": self.name,
            "hosts": self.hosts,
            "state": self.state,
            "requests_per_second": rate if known else 0,
            "p50_ms": slower if known and rate else None,
            "p99_ms": slower * 6.5 if known and rate else None,
            "errors_per_second": rate * self.failing if known else 0,
            "in_flight": flight,
            "queued": min(round(waiting) - flight, self.limits["queue"]),
            "requests": round(asked),
            "errors": round(asked * self.failing),
            "bytes_in": round(asked * 700),
            "bytes_out": round(asked * 21_000),
            "limits": self.limits,
            "last_error": self.error and {
                "label": self.error[0],
                "status": self.error[1],
                "ms_ago": round(self.error_age_ms + (now * 1000 if self.failing < 0.1 else 0)),
            },
        }  # fmt: skip


class Mock:
    def __init__(self) -> None:
        chance = random.Random(7)
        known = [("thor", "up", 164.0), ("potter", "up", 71.0), ("gone", "away", 3.0), ("sick", "out", 2.0), ("crowded", "aside", 820.0)]
        self.tenants = [Tenant(number, *one) for number, one in enumerate(known)]
        for number in range(len(known), TENANTS):
            state = chance.choices(STATES, (70, 26, 2, 1, 1))[0]
            name = f"{chance.choice(COLOURS)}-{chance.choice(THINGS)}-{number:04}"
            self.tenants.append(Tenant(number, name, state, chance.paretovariate(1.1) / 8))
        self.began = time.monotonic()
        self.mistake: str | None = None

    def live(self, query: dict[str, str]) -> Row | None:
        """None if that can't be asked."""
        sort, order = query.get("sort", "tenant"), query.get("order", "asc")
        offset, limit = query.get("offset", "0"), query.get("limit", "100")
        if sort not in SORTS or order not in ("asc", "desc") or not (offset + limit).isdecimal() or not 1 <= int(limit) <= LIMIT_MAX:
            return None
        now = time.monotonic() - self.began
        wanted = query.get("search", "").strip().lower()
        every = [tenant.row(now) for tenant in self.tenants]
        rows = [row for row in every if any(wanted in name for name in (row["tenant"], *row["hosts"]))]
        rows.sort(key=lambda row: row["tenant"])
        rows.sort(key=lambda row: rank(row, sort), reverse=order == "desc")

        def total(what: str) -> Any:
            return sum(row[what] for row in every)

        return {
            "version": "0.1.0",
            "generation": 3,
            "ready": True,
            "last_reload_error": self.mistake,
            "uptime_s": now,
            "tenants": len(self.tenants),
            "matching": len(rows),
            "interval_ms": 1000 if now >= INTERVAL_S else 0,
            "edge": {
                "workers": 2,
                "connections": 1_843,
                "connections_max": 20_000,
                "requests_per_second": total("requests_per_second"),
                "errors_per_second": total("errors_per_second"),
                "in_flight": total("in_flight"),
                "queued": total("queued"),
                "unrouted_per_second": 0.4,
                "log_dropped": 0,
            },
            "rows": rows[int(offset) :][: int(limit)],
        }


def rank(row: Row, sort: str) -> Any:
    """Nothing known is least."""
    value = row[sort]
    if sort == "state":
        return STATES.index(value)
    return value if sort == "tenant" else -1 if value is None else value


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    mock: Mock

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match url.path:
            case "/":
                self.answer(200, "text/html; charset=utf-8", PAGE.read_bytes(), {"content-security-policy": POLICY})
            case "/live":
                live = self.mock.live(query)
                self.answer(200 if live else 400, "application/json", json.dumps(live).encode())
            case "/routes":
                routes = [{"tenant": tenant.name, "hosts": tenant.hosts} for tenant in self.mock.tenants if tenant.name == query.get("tenant")]
                self.answer(200 if routes else 404, "application/json", json.dumps({"generation": 3, "routes": routes}).encode())
            case _:
                self.answer(404, "text/plain", b"no such page\n")

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["content-length"])).decode()
        self.mock.mistake = text or None
        self.answer(200, "text/plain", b"")

    def answer(self, status: int, kind: str, body: bytes, more: dict[str, str] = {}) -> None:
        self.send_response(status)
        headers = {"content-type": kind, "cache-control": "no-store", "content-length": str(len(body)), **more}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A browser that goes away in the middle is none."""


if __name__ == "__main__":
    Answers.mock = Mock()
    server = Server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 0), Answers)
    print(server.server_port, flush=True)
    server.serve_forever()
