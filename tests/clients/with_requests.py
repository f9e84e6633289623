"""requests, on urllib3's pool."""

import gzip
import io
import time
from concurrent.futures import ThreadPoolExecutor

import pattern
import requests
from checks import check, equal
from stage import Stage

TIMEOUT_S = 15
MIB = 1 << 20


@check("a session: log-in, cookies, redirects")
def session(stage: Stage) -> None:
    with requests.Session() as session:
        answer = session.post(stage.url("thor", "/login"), data={"user": "thor"}, timeout=TIMEOUT_S)
        equal(([past.status_code for past in answer.history], answer.url), ([302], stage.url("thor", "/me")))
        equal(answer.json()["session"], "s3cr3t")
        session.get(stage.url("potter", "/cookies"), timeout=TIMEOUT_S)
        equal({cookie.name for cookie in session.cookies}, {"session", "theme", "a", "b", "c"}, "cookies")


@check("redirects: the method changes with 303 and stays with 307 and 308")
def redirects(stage: Stage) -> None:
    for status, method in ((301, "GET"), (302, "GET"), (303, "GET"), (307, "PUT"), (308, "PUT")):
        # requests makes a GET of a POST alone when it meets 301.
        asked = "POST" if status == 301 else "PUT"
        answer = requests.request(asked, stage.url("thor", f"/redirect/{status}"), data=b"body", timeout=TIMEOUT_S)
        got = answer.json()
        equal((got["method"], got["target"]), (method, "/echo/after"), str(status))
        equal(got["body"], "body" if method == "PUT" else "", "body")


@check("a session keeps its connection")
def pooled(stage: Stage) -> None:
    with requests.Session() as session:
        for path in ("/echo", "/bytes/100000", "/chunked/100000", "/status/204", "/gzip") * 5:
            session.get(stage.url("thor", path), timeout=TIMEOUT_S)
            session.head(stage.url("thor", path), timeout=TIMEOUT_S)
        pools = session.get_adapter("http://").poolmanager.pools
        equal([pools[key].num_connections for key in pools.keys()], [1], "connections, a pool")


@check("streams an upload, from a generator and from a file")
def upload(stage: Stage) -> None:
    url = stage.url("thor", "/upload")
    got = requests.post(url, data=pattern.pieces(3 * MIB, 5003), timeout=TIMEOUT_S).json()
    equal((got["sha256"], got["transfer-encoding"]), (pattern.digest(3 * MIB), "chunked"))
    got = requests.put(url, data=io.BytesIO(pattern.whole(3 * MIB)), timeout=TIMEOUT_S).json()
    equal((got["sha256"], got["content-length"]), (pattern.digest(3 * MIB), str(3 * MIB)))


@check("streams a download")
def download(stage: Stage) -> None:
    for path in ("bytes", "chunked"):
        with requests.get(stage.url("thor", f"/{path}/{8 * MIB}"), stream=True, timeout=TIMEOUT_S) as answer:
            body = b"".join(answer.iter_content(10_007))
        equal(pattern.digest_of(body), pattern.digest(8 * MIB), path)


@check("a form with files, JSON, and text that isn't ASCII")
def forms(stage: Stage) -> None:
    files = {"photo": ("bär.jpg", pattern.whole(200_000), "image/jpeg")}
    answer = requests.post(stage.url("thor", "/form"), data={"title": "Bär"}, files=files, timeout=TIMEOUT_S)
    equal(answer.json(), {"title": "Bär", "photo": f"bär.jpg:{pattern.digest(200_000)}"})
    got = requests.patch(stage.url("thor", "/echo/ä"), params={"q": "ö &"}, json={"a": [1]}, timeout=TIMEOUT_S).json()
    equal((got["method"], got["target"], got["body"]), ("PATCH", "/echo/%C3%A4?q=%C3%B6+%26", '{"a": [1]}'))


@check("gzip, both ways")
def gzipped(stage: Stage) -> None:
    answer = requests.get(stage.url("thor", "/gzip"), timeout=TIMEOUT_S)
    equal((answer.headers["Content-Encoding"], pattern.digest_of(answer.content)), ("gzip", pattern.digest(100_000)))
    body = gzip.compress(pattern.whole(50_000))
    headers = {"Content-Encoding": "gzip"}
    got = requests.post(stage.url("potter", "/upload"), data=body, headers=headers, timeout=TIMEOUT_S).json()
    equal((got["sha256"], got["content-encoding"]), (pattern.digest_of(body), "gzip"))


@check("ranges and conditions")
def ranges(stage: Stage) -> None:
    url = stage.url("thor", "/file")
    answer = requests.get(url, headers={"Range": "bytes=1000-1999"}, timeout=TIMEOUT_S)
    equal((answer.status_code, answer.content), (206, pattern.whole(MIB)[1000:2000]))
    answer = requests.get(url, headers={"If-None-Match": answer.headers["ETag"]}, timeout=TIMEOUT_S)
    equal((answer.status_code, answer.content), (304, b""))


@check("its own time-out is its own affair")
def timeout(stage: Stage) -> None:
    with requests.Session() as session:
        began = time.monotonic()
        try:
            session.get(stage.url("thor", "/slow/5000?requests"), timeout=0.3)
        except requests.exceptions.ReadTimeout:
            equal(session.get(stage.url("thor", "/echo"), timeout=TIMEOUT_S).json()["tenant"], "thor")
        else:
            raise AssertionError(f"it was answered after {time.monotonic() - began} s")
    stage.logged(path="/slow/5000?requests", error="client_gone")


@check("a refusal of an upload that goes on arrives")
def early(stage: Stage) -> None:
    """Larger than what sockets hold, so that the upload is really cut short."""
    answer = requests.post(stage.url("potter", "/early"), data=pattern.whole(3 * MIB), timeout=TIMEOUT_S)
    equal((answer.status_code, answer.text), (413, "too much"))


@check("twenty threads with a session, two tenants each")
def threads(stage: Stage) -> None:
    with requests.Session() as session, ThreadPoolExecutor(20) as threads:

        def one(number: int) -> None:
            tenant = ("thor", "potter")[number % 2]
            got = session.get(stage.url(tenant, f"/echo?{number}"), timeout=TIMEOUT_S).json()
            equal((got["tenant"], got["target"]), (tenant, f"/echo?{number}"))

        list(threads.map(one, range(300)))
