"""An app that says in every answer whose it is, and keeps a journal of its starts and of every request that reached it.

The journal is a file outside of the container, written line by line, so it outlives `kill -9`. It is what counts
requests that reached the wrong tenant's app: an edge can hide a wrong answer, but not a wrong arrival.
"""

import json
import os
import time

TENANT = os.environ["TENANT"]
CONTAINER = os.environ["HOSTNAME"]
JOURNAL = os.open(f"/journal/{TENANT}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


STARTS = os.open(f"/journal/{TENANT}.starts", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(journal, **what):
    line = {"time": time.time(), "container": CONTAINER, **what}
    os.write(journal, json.dumps(line).encode() + b"\n")


def app(environ, start_response):
    environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    note(JOURNAL, method=environ["REQUEST_METHOD"], host=environ.get("HTTP_HOST"), path=path)
    body = json.dumps({"tenant": TENANT, "container": CONTAINER, "path": path}).encode()
    fields = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", fields)
    return [body]


# The app is loaded before its port opens, which is all that is left to do now.
note(STARTS)
