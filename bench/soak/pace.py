"""Does things at a rate that waits for nobody, each so many times at once at most, and counts what became of them."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

# What is told of failures, of each kind; the count goes on.
TOLD = 5


@dataclass(frozen=True)
class Kind:
    """One sort of traffic."""

    name: str
    act: Callable[[], Awaitable[None]]
    per_second: float
    at_once: int


@dataclass
class Tally:
    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def fail(self, name: str, why: BaseException | str) -> None:
        self.failed[name] += 1
        if self.failed[name] <= TOLD:
            self.told.append(f"{time.strftime('%H:%M:%S')} {name}: {why!r}")

    def tell(self) -> None:
        """To whoever started this process, as its last line."""
        json.dump({name: value for name, value in vars(self).items()}, sys.stdout)
        print(flush=True)


async def drive(kinds: list[Kind], duration_s: float, one: Callable[[Kind], Awaitable[None]], tally: Tally) -> None:
    """Lets `one` do each kind at its rate for that long, and waits until the last has ended."""
    until = time.monotonic() + duration_s
    await asyncio.gather(*(_drive(kind, until, one, tally) for kind in kinds))


async def _drive(kind: Kind, until: float, one: Callable[[Kind], Awaitable[None]], tally: Tally) -> None:
    running: set[asyncio.Task[None]] = set()
    due = time.monotonic()
    while due < until:
        await asyncio.sleep(max(0, due - time.monotonic()))
        due += 1 / kind.per_second
        if len(running) >= kind.at_once:
            tally.skipped[kind.name] += 1
            continue
        task = asyncio.create_task(one(kind))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
