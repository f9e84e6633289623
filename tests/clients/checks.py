"""The list of checks: a module a client, each of its checks one thing that people do with it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from stage import Stage

Run = Callable[[Stage], Awaitable[None] | None]


@dataclass(frozen=True)
class Check:
    client: str
    name: str
    run: Run


ALL: list[Check] = []


def check(name: str) -> Callable[[Run], Run]:
    """Adds a function to the list, under the client that its module is named for (`with_curl`)."""

    def add(run: Run) -> Run:
        ALL.append(Check(run.__module__.removeprefix("with_"), name, run))
        return run

    return add


def equal(got: Any, expected: Any, what: str = "") -> None:
    if got != expected:
        raise AssertionError(f"{what or 'it'} is {shown(got)}, expected {shown(expected)}")


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 500 else f"{text[:500]}… ({len(text)} characters)"
