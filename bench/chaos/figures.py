"""What outcomes of requests come to. Pure: it starts nothing and waits for nothing."""

from load import Outcome

# Of one edge in one scenario, or in one event of it.
Row = dict[str, str | int | float | None]


def of(outcomes: list[Outcome], edge: str, tenant: str | None = None) -> list[Outcome]:
    return [outcome for outcome in list(outcomes) if outcome.edge == edge and tenant in (None, outcome.tenant)]


def begun(outcomes: list[Outcome], since: float, before: float) -> list[Outcome]:
    return [outcome for outcome in outcomes if since <= outcome.began < before]


def failed(outcomes: list[Outcome]) -> int:
    return sum(outcome.failed for outcome in outcomes)


def wrong(outcomes: list[Outcome]) -> int:
    return sum(outcome.wrong for outcome in outcomes)


def waited_s(outcomes: list[Outcome], ready: float) -> list[float]:
    """How late after `ready` those were answered that were asked before."""
    return [outcome.ended - ready for outcome in outcomes if outcome.good and outcome.began < ready < outcome.ended]


def first_good_ms(outcomes: list[Outcome], ready: float) -> float | None:
    """From the app's start to the first good answer that came after it, if any did."""
    ends = [outcome.ended for outcome in outcomes if outcome.good and outcome.ended >= ready]
    return round((min(ends) - ready) * 1000, 1) if ends else None


def longest(times: list[float | None]) -> float | None:
    """None if one of them has not ended."""
    ended = [time for time in times if time is not None]
    return max(ended) if ended and len(ended) == len(times) else None


def took_ms(outcomes: list[Outcome], share: float) -> float | None:
    return percentile_ms([outcome.took_s for outcome in outcomes], share)


def percentile_ms(times_s: list[float], share: float) -> float | None:
    """With a share of 1, the longest."""
    ordered = sorted(times_s)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 1) if ordered else None
