"""What it costs potter that very many tenants' metrics are read, and how long that takes. Of hostler only."""

import argparse
import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine
from edge import host
from figures import Row, say
from stage import Probe, Wanted, priority, staged

TENANTS = 10_000
EACH_S = 1.0


def row(arguments: argparse.Namespace, files: Path) -> Row:
    rounds = []
    for _ in range(arguments.rounds):
        rounds.append(one(arguments, files))
        say(f"scrape: {rounds[-1]}")
    return {
        "scenario": "scrape", "edge": "hostler", "workers": 1, "tenants": arguments.tenants, "seconds": arguments.seconds,
        "priority": priority().title, "rounds": rounds,
    }


def one(arguments: argparse.Namespace, files: Path) -> dict[str, Any]:
    admin = machine.free_port()
    with staged("hostler", Wanted(files, arguments.edge, tenants=arguments.tenants, admin=admin)) as stage:
        get_metrics(admin)  # before anything else takes its time
        ask_all(stage.port, arguments.tenants)
        with Probe(stage.port, stage.potter, arguments.seconds) as probe:
            alone = probe.seen()
        with scraped(admin) as scrapes, Probe(stage.port, stage.potter, arguments.seconds) as probe:
            through = probe.seen()
    took = [round(seconds * 1e3, 3) for seconds, _ in scrapes]
    return {"alone": {"potter": alone}, "through": {"potter": through}, "scrape_ms": took, "bytes": scrapes[-1][1]}


def ask_all(port: int, tenants: int) -> None:
    """Each tenant once, so that it has metrics. The apps close, or 10,000 connections to them would be left."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for tenant in range(tenants):
        client.request("GET", "/once", headers={"Host": host(tenant)})
        answer = client.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{host(tenant)}: {answer.status}")
    client.close()


@contextmanager
def scraped(admin: int) -> Iterator[list[tuple[float, int]]]:
    """Once a second: how many seconds it took, and how many bytes came."""
    seen = [get_metrics(admin)]
    with machine.meanwhile(EACH_S, lambda: seen.append(get_metrics(admin))):
        yield seen


def get_metrics(admin: int) -> tuple[float, int]:
    began = time.monotonic()
    client = http.client.HTTPConnection("127.0.0.1", admin, timeout=30)
    client.request("GET", "/metrics", headers={"Connection": "close"})
    answer = client.getresponse()
    length = len(answer.read())
    took = time.monotonic() - began
    client.close()
    if answer.status != 200:
        raise RuntimeError(f"GET /metrics on the admin listener: {answer.status}; this hostler has no metrics to scrape")
    return took, length
