"""What the scenarios have in common: how hard they ask, and how they say how far they are."""

import time

# Requests a second to each tenant through each edge.
RATE = 50


def say(what: str, every: int = 1, number: int = 0) -> None:
    """One line with the time of day; of numbered steps only each `every`th."""
    if number % every == 0:
        print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)
