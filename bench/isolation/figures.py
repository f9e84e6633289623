"""What a row of figures is, and what is said meanwhile."""

import time
from typing import Any

# The states that potter is asked in, in the order of a round.
STATES = ("alone", "beside", "through")
# A scenario with an edge and its workers, and of each round what potter and the flood met in each state.
Row = dict[str, Any]


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
