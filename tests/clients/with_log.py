"""No client: what the edge itself said of all that the others did. It comes last."""

from checks import check, equal
from stage import Stage

# What clients asked for: hosts that are nobody's, CONNECT, a head that is too large, leaving in the middle.
OF_CLIENTS = {"unknown_host", "method_not_allowed", "headers_too_large", "client_gone"}


@check("the access log blames neither the apps nor the edge")
def errors(stage: Stage) -> None:
    wrong = [line for line in list(stage.access) if line["error"] not in OF_CLIENTS | {None}]
    equal(wrong, [], "lines with another error")


@check("no panic, no warning, nothing that isn't JSON")
def events(stage: Stage) -> None:
    equal(stage.noise, [], "what isn't JSON")
    equal([event for event in stage.events if event["level"] not in ("INFO", "DEBUG")], [], "warnings")
