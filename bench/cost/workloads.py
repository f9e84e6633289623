"""What the edges are asked for, and what one turn of one of them cost."""

import json
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import machine
from edge import PROJECT, Edge, host

HERE = Path(__file__).resolve().parent
IDLE = 10_000
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "http://t0.bench.test/polls/questions/2026/results/?page=3&sort=votes",
    "DNT": "1",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Priority": "u=0, i",
    "Cookie": "csrftoken=Zx81kQw0bT7mYc3nVr5LZx81kQw0bT7m; sessionid=9f3c2b7e5d1a4c8f9f3c2b7e5d1a4c8f; seen=" + "a7" * 200,
}
ALL = ("hostler", "nginx", "nginx-tutorial", "haproxy", "caddy", "traefik", "envoy")
BODIES = (*ALL, "nginx-streaming")
TUNNELS = tuple(name for name in ALL if name != "nginx-tutorial")


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    connections: int
    path: str = "/small"
    fields: tuple[tuple[str, str], ...] = ()
    body_bytes: int = 0
    log: bool = False
    # Messages there and back over WebSocket instead of requests.
    tunnels: bool = False
    edges: tuple[str, ...] = ALL


WORKLOADS = {
    load.name: load
    for load in (
        Workload("small-64", "small GET, 64 connections", 64),
        Workload("small-1", "small GET, 1 connection", 1),
        Workload("small-512", "small GET, 512 connections", 512),
        Workload("browser-64", "a browser's headers, 64 connections", 64, "/page", tuple(BROWSER.items())),
        Workload("16k-64", "16 KiB down, 64 connections", 64, "/bytes/16384"),
        Workload("down-1m", "1 MiB down, 16 connections", 16, "/bytes/1048576", edges=BODIES),
        Workload("up-10m", "10 MiB up, 8 connections", 8, body_bytes=10 << 20, edges=BODIES),
        Workload("new-64", "a new connection for each request, 64 at a time", 64, fields=(("Connection", "close"),)),
        # The tutorial's nginx.conf lets nobody switch protocols.
        Workload("echo-64", "WebSocket, 64 bytes there and back, 64 connections", 64, tunnels=True, edges=TUNNELS),
        Workload("log-64", "small GET, 64 connections, access log on", 64, log=True, edges=(*ALL, "nginx-log-buffered")),
    )
}


def wrk(port: int, load: Workload, cores: str, seconds: float, hosts: int = 1, tenants: int = 1) -> dict[str, float]:
    """Asks for so many hosts, spread over all tenants."""
    fields = [argument for name, value in load.fields for argument in ("-H", f"{name}: {value}")]
    command = ["taskset", "-c", cores, "wrk", "-t1", f"-c{load.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["-s", str(HERE / "wrk.lua"), *fields, f"http://127.0.0.1:{port}{load.path}"]
    command += ["--", str(load.body_bytes), str(hosts), str(tenants)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, preexec_fn=machine.many_descriptors)
    if done.returncode != 0:
        raise RuntimeError(f"wrk: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def echo(port: int, load: Workload, cores: str, seconds: float) -> dict[str, float]:
    command = ["taskset", "-c", cores, str(PROJECT / "target/bench/release/bench-echo"), str(port), host(0), str(load.connections), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True)
    return json.loads(done.stdout)


def turn(edge: Edge, load: Workload, cores: str, seconds: float, hosts: int = 1) -> dict[str, float]:
    """One turn of one edge."""
    assert edge.process and edge.setting
    before = machine.cpu(edge.process.pid)
    if load.tunnels:
        seen = echo(edge.setting.port, load, cores, seconds)
    else:
        seen = wrk(edge.setting.port, load, cores, seconds, hosts, edge.setting.tenants)
    spent = machine.cpu(edge.process.pid) - before
    good = max(1, seen["requests"] - seen["not_2xx"])
    return {
        "cpu_us": spent.total / good * 1e6,
        "user_us": spent.user / good * 1e6,
        "system_us": spent.system / good * 1e6,
        "per_s": good / seen["seconds"],
        "p50_us": seen["p50_us"],
        "p99_us": seen["p99_us"],
        "failed": seen["failed"] + seen["not_2xx"],
        "memory_kib": machine.memory_kib(edge.process.pid),
    }


def idle(edge: Edge, connections: int) -> dict[str, float]:
    """What connections cost that have had one request each and have no more."""
    assert edge.process and edge.setting
    before = machine.memory_kib(edge.process.pid)
    request = f"GET /small HTTP/1.1\r\nHost: {host(0)}\r\n\r\n".encode()
    kept = []
    for _ in range(connections):
        one = socket.create_connection(("127.0.0.1", edge.setting.port), timeout=5)
        one.sendall(request)
        answer = b""
        while b"for itself.\n" not in answer:
            piece = one.recv(4096)
            if not piece:
                raise RuntimeError("closed before the answer had ended")
            answer += piece
        kept.append(one)
    time.sleep(5)  # so that what is given back after a while has been
    held = machine.memory_kib(edge.process.pid) - before
    for one in kept:
        one.close()
    return {"before_kib": before, "connections": connections, "bytes_each": held * 1024 / connections}
