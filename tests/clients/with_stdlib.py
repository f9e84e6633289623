"""http.client and urllib, of Python's own library."""

import http.client
import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pattern
from checks import check, equal
from stage import Stage

TIMEOUT_S = 15


def connect(stage: Stage, tenant: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(f"{tenant}.localhost", stage.port, timeout=TIMEOUT_S)


def ask(connection: http.client.HTTPConnection, method: str, path: str, **options) -> tuple[int, bytes]:
    connection.request(method, path, **options)
    answer = connection.getresponse()
    return answer.status, answer.read()


@check("http.client: a hundred requests of each kind on one connection")
def keep_alive(stage: Stage) -> None:
    connection = connect(stage, "thor")
    connection.connect()
    socket, body = connection.sock, pattern.whole(70_000)
    for number in range(100):
        status, answer = ask(connection, "GET", f"/echo?{number}")
        equal((status, json.loads(answer)["target"]), (200, f"/echo?{number}"))
        equal(ask(connection, "HEAD", "/bytes/100"), (200, b""), "HEAD")
        equal(ask(connection, "GET", "/status/204"), (204, b""), "204")
        equal(ask(connection, "GET", "/status/304"), (304, b""), "304")
        equal(json.loads(ask(connection, "POST", "/upload", body=body)[1])["sha256"], pattern.digest(70_000))
        equal(ask(connection, "GET", "/chunked/70000"), (200, body), "chunked")
    equal(connection.sock is socket, True, "the same connection")


@check("http.client: chunked uploads, with and without a known end")
def chunked(stage: Stage) -> None:
    for tenant in ("thor", "potter"):
        connection = connect(stage, tenant)
        for size in (0, 1, 500_000):
            connection.request("POST", "/upload", body=pattern.pieces(size, 3001), encode_chunked=True)
            got = json.loads(connection.getresponse().read())
            equal((got["size"], got["sha256"], got["transfer-encoding"]), (size, pattern.digest(size), "chunked"))


@check("http.client: asks first (Expect: 100-continue), and sends all the same")
def expect(stage: Stage) -> None:
    for tenant in ("thor", "potter"):
        headers = {"Expect": "100-continue"}
        _, answer = ask(connect(stage, tenant), "PUT", "/upload", body=pattern.whole(100_000), headers=headers)
        equal(json.loads(answer)["sha256"], pattern.digest(100_000), tenant)


@check("http.client: HTTP/1.0")
def http10(stage: Stage) -> None:
    connection = connect(stage, "thor")
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"
    connection.request("GET", "/chunked/70000", headers={"Host": "thor.localhost"})
    answer = connection.getresponse()
    equal((answer.getheader("Transfer-Encoding"), answer.will_close), (None, True), "framing")
    equal(answer.read(), pattern.whole(70_000))


@check("http.client: the app's Connection: close is between the app and the edge")
def goodbye(stage: Stage) -> None:
    connection = connect(stage, "potter")
    connection.connect()
    socket = connection.sock
    for _ in range(3):
        equal(ask(connection, "GET", "/goodbye")[0], 200)
    equal(connection.sock is socket, True, "the same connection")


@check("http.client: a tunnel through the edge is refused")
def tunnel(stage: Stage) -> None:
    connection = connect(stage, "thor")
    connection.set_tunnel("127.0.0.1", stage.ports["potter"])
    try:
        connection.request("GET", "/echo")
    except OSError as error:
        equal("Tunnel connection failed" in str(error), True, str(error))
    else:
        raise AssertionError("the tunnel stands")


@check("http.client: leaves in the middle of an answer; the next finds nothing of it")
def leaves(stage: Stage) -> None:
    for _ in range(5):
        connection = connect(stage, "thor")
        connection.request("GET", f"/bytes/{20 << 20}")
        equal(connection.getresponse().read(1000), pattern.whole(20 << 20)[:1000])
        connection.close()
        equal(ask(connect(stage, "thor"), "GET", "/bytes/100"), (200, pattern.whole(100)))


@check("urllib: cookies, redirects, forms")
def browse(stage: Stage) -> None:
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with opener.open(stage.url("thor", "/login"), timeout=TIMEOUT_S) as answer:
        equal((json.load(answer)["session"], answer.url), ("s3cr3t", stage.url("thor", "/me")))
    form = urllib.parse.urlencode({"a": "1", "b": "ä"}).encode()
    with opener.open(stage.url("thor", "/form"), form, timeout=TIMEOUT_S) as answer:
        equal(json.load(answer), {"a": "1", "b": "ä"})


@check("urllib: errors have their status and their body")
def errors(stage: Stage) -> None:
    for url, status in ((stage.url("thor", "/nothing"), 404), (stage.url("ron", "/"), 404)):
        try:
            urllib.request.urlopen(url, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            equal((error.code, len(error.read()) > 0), (status, True))
        else:
            raise AssertionError(f"{url} was fine")


@check("urllib: with the edge as its proxy, a known host is served and others aren't")
def proxy(stage: Stage) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://127.0.0.1:{stage.port}"}))
    with opener.open("http://potter.localhost/echo", timeout=TIMEOUT_S) as answer:
        equal(json.load(answer)["tenant"], "potter")
    try:
        opener.open(f"http://127.0.0.1:{stage.ports['thor']}/echo", timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        equal(error.code, 404)
    else:
        raise AssertionError("an open proxy")


@check("urllib: fifty at once, each answered by its own tenant")
def at_once(stage: Stage) -> None:
    def one(number: int) -> None:
        tenant = ("thor", "potter")[number % 2]
        with urllib.request.urlopen(stage.url(tenant, f"/echo?{number}"), timeout=TIMEOUT_S) as answer:
            got = json.load(answer)
        equal((got["tenant"], got["target"]), (tenant, f"/echo?{number}"))

    with ThreadPoolExecutor(50) as threads:
        list(threads.map(one, range(200)))
