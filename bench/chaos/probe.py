"""Watches from outside when an app begins to accept connections, whatever it says of itself.

Owns one thread in the network namespace that it is given. It sends nothing: a connection that stands is closed.
"""

import socket
import threading
import time
from pathlib import Path

from engine import Failed
from load import enter

APART_S = 0.002
TRY_S = 0.1


def accepting_since(namespace: Path, address: str, port: int, within_s: float = 30) -> float | None:
    """Dials until a dial succeeds; returns when the last one began that did not, so never a moment too late.

    None if already the first one succeeds: then it can't be known. Raises Failed if none does in time.
    """
    found: list[float | None] = []
    watch = threading.Thread(target=_dial, args=(namespace, address, port, within_s, found), daemon=True)
    watch.start()
    watch.join(within_s + 1)
    if not found:
        raise Failed(f"not within {within_s:.0f} s: {address}:{port} accepts")
    return found[0]


def _dial(namespace: Path, address: str, port: int, within_s: float, found: list[float | None]) -> None:
    enter(namespace)
    failed = None
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        began = time.time()
        try:
            socket.create_connection((address, port), TRY_S).close()
        except OSError:
            failed = began
            time.sleep(APART_S)
            continue
        found.append(failed)
        return
