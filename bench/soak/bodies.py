"""Bodies of many gigabytes, down and up, by length and chunked, and the memory that the edge takes meanwhile."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

from bulk import read_body, read_head, send_body
from edge import Edge, listening, serving

GROWTH_KIB_MAX = 8 * 1024
SAMPLE_S = 0.05
CONFIG = """\
listen = "127.0.0.1:0"
admin.listen = "127.0.0.1:0"
log.format = "json"
limits.connections = 1000
defaults.limits.body = "1TiB"

[routes.thor]
hosts = "thor.test"
upstream = "http://127.0.0.1:{thor}"
"""


def bodies(binary: Path, files: Path, size: int) -> dict[str, Any]:
    """`size` each way: half of it with Content-Length, half of it in chunks."""
    files.mkdir(parents=True)
    with listening(["bulk.py"]) as app, serving(binary, files, CONFIG, {"thor": app}) as edge:
        # Small ones first, so that what is made once has been made.
        for way in (down, up):
            for chunked in (False, True):
                way(edge, 1 << 20, chunked)
        before = edge.sample()
        transfers = []
        for way in (down, up):
            for chunked in (False, True):
                transfers.append(measured(edge, way, size // 2, chunked))
                print(transfers[-1], flush=True)
        return {
            "bytes_each_way": size // 2 * 2,
            "before_rss_kib": before.rss_kib,
            "peak_rss_kib": max(transfer["peak_rss_kib"] for transfer in transfers),
            "transfers": transfers,
        }


def measured(edge: Edge, way: Any, size: int, chunked: bool) -> dict[str, Any]:
    peak, over = [edge.sample().rss_kib], threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            peak.append(edge.sample().rss_kib)

    sampler = threading.Thread(target=sample)
    sampler.start()
    began, cpu_s = time.monotonic(), edge.cpu_s()
    try:
        right = way(edge, size, chunked)
    finally:
        over.set()
        sampler.join()
    took_s = time.monotonic() - began
    return {
        "way": way.__name__,
        "framing": "chunked" if chunked else "Content-Length",
        "bytes": size,
        "right": right,
        "seconds": round(took_s, 1),
        "mib_per_s": round(size / took_s / (1 << 20)),
        "cpu_s": round(edge.cpu_s() - cpu_s, 1),
        "peak_rss_kib": max(peak),
        "samples": len(peak),
    }


def down(edge: Edge, size: int, chunked: bool) -> bool:
    with socket.create_connection(("127.0.0.1", edge.port), timeout=60) as connection:
        path = f"/{'chunked' if chunked else 'length'}/{size}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: thor.test\r\n\r\n".encode())
        with connection.makefile("rb", buffering=1 << 18) as stream:
            first, fields = read_head(stream)
            got = read_body(stream, fields)
            return first.startswith("HTTP/1.1 200 ") and got.right and got.bytes == size


def up(edge: Edge, size: int, chunked: bool) -> bool:
    with socket.create_connection(("127.0.0.1", edge.port), timeout=60) as connection:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        connection.sendall(f"PUT / HTTP/1.1\r\nHost: thor.test\r\n{framing}\r\n\r\n".encode())
        send_body(connection, size, chunked)
        with connection.makefile("rb") as stream:
            first, fields = read_head(stream)
            said = stream.read(int(fields["content-length"]))
            return first.startswith("HTTP/1.1 200 ") and said == f"{size} True".encode()


def verdicts(figures: dict[str, Any]) -> list[tuple[str, str, bool]]:
    gib = figures["bytes_each_way"] / (1 << 30)
    growth = figures["peak_rss_kib"] - figures["before_rss_kib"]
    right = all(transfer["right"] for transfer in figures["transfers"])
    return [
        (f"{gib:.3g} GiB down and {gib:.3g} GiB up, every byte as it was sent", "yes" if right else "no", right),
        (
            "resident memory before / most, MiB (8 more at most)",
            f"{figures['before_rss_kib'] / 1024:.1f} / {figures['peak_rss_kib'] / 1024:.1f}",
            growth <= GROWTH_KIB_MAX,
        ),
    ]
