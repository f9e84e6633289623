"""curl, as people call it."""

import json
import re
import subprocess
import time
from dataclasses import dataclass

import pattern
from checks import check, equal
from stage import Stage

MIB = 1 << 20


@dataclass(frozen=True)
class Result:
    code: int
    out: bytes
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)

    @property
    def head(self) -> str:
        """What `-i` put before the body."""
        return self.out.split(b"\r\n\r\n")[0].decode().lower() + "\r\n"


def curl(*arguments: str, stdin: bytes | None = None, code: int = 0) -> Result:
    command = ["curl", "-q", "-sS", "--max-time", "15", *arguments]
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    run = subprocess.run(command, capture_output=True, timeout=20, check=False, **given)
    result = Result(run.returncode, run.stdout, run.stderr.decode(errors="replace"))
    if result.code != code:
        raise AssertionError(f"{command}: exit code {result.code}, expected {code}: {result.err}{result.out[:500]!r}")
    return result


def header(echoed: dict, name: str) -> list[str]:
    return [value for given, value in echoed["headers"] if given.lower() == name.lower()]


@check("one GET, and what the app is told")
def get(stage: Stage) -> None:
    got = curl(stage.url("thor", "/echo/a%2Fb?q=1&q=%20")).json
    equal((got["tenant"], got["method"], got["target"]), ("thor", "GET", "/echo/a%2Fb?q=1&q=%20"))
    equal(header(got, "Host"), [f"thor.localhost:{stage.port}"], "Host")
    equal(header(got, "X-Real-IP"), ["127.0.0.1"], "X-Real-IP")
    equal(header(got, "X-Forwarded-Proto"), ["http"], "X-Forwarded-Proto")


@check("several URLs over one connection")
def keep_alive(stage: Stage) -> None:
    paths = ("/echo", "/chunked/70000", "/status/204", "/gzip", "/file", "/bytes/0", "/echo")
    urls = [url for path in paths for url in ("-o", "/dev/null", stage.url("thor", path))]
    equal(curl("-w", "%{num_connects}", *urls).out, b"1000000", "connections made, a URL")


@check("two hosts over one connection reach their tenants")
def hosts(stage: Stage) -> None:
    base = f"http://127.0.0.1:{stage.port}"
    ask = lambda tenant: ["-w", "\n%{num_connects}\n", "-H", f"Host: {tenant}.localhost", f"{base}/echo"]
    lines = curl(*ask("thor"), "--next", "-sS", *ask("potter")).out.splitlines()
    equal([json.loads(lines[0])["tenant"], lines[1]], ["thor", b"1"])
    equal(json.loads(lines[2])["tenant"], "potter")


@check("twenty URLs in parallel")
def parallel(stage: Stage) -> None:
    urls = [url for _ in range(20) for url in ("-o", "/dev/null", stage.url("thor", "/slow/50"))]
    equal(curl("-Z", "-w", "%{http_code} ", *urls).out.split(), [b"200"] * 20, "statuses")


@check("-T: an upload that asks first (Expect: 100-continue)")
def upload(stage: Stage) -> None:
    file = stage.directory / "upload"
    file.write_bytes(pattern.whole(3 * MIB))
    result = curl("-v", "-T", str(file), stage.url("thor", "/upload"))
    equal("< HTTP/1.1 100 Continue" in result.err, True, "the 100 is seen")
    equal((result.json["size"], result.json["sha256"]), (3 * MIB, pattern.digest(3 * MIB)))
    equal(result.json["content-length"], str(3 * MIB), "Content-Length")


@check("-T: an upload that asks first is refused before it is sent")
def refused(stage: Stage) -> None:
    file = stage.directory / "refused"
    file.write_bytes(pattern.whole(3 * MIB))
    arguments = ("-w", "%{http_code} %{size_upload}", "-o", "/dev/null", "-H", "X-Refuse: 1", "-T", str(file))
    equal(curl(*arguments, stage.url("thor", "/upload")).out, b"413 0", "status and bytes sent")


@check("-T: a refusal while the upload is under way arrives")
def early(stage: Stage) -> None:
    file = stage.directory / "early"
    file.write_bytes(pattern.whole(2 * MIB))
    result = curl("-i", "-H", "Expect:", "-T", str(file), stage.url("potter", "/early"))
    equal(b" 413 " in result.out and b"too much" in result.out, True, "the 413 is seen")


@check("-T -: a chunked upload from standard input")
def chunked(stage: Stage) -> None:
    body = pattern.whole(2 * MIB)
    for tenant in ("thor", "potter"):
        got = curl("-T", "-", stage.url(tenant, "/upload"), stdin=body).json
        equal((got["size"], got["sha256"]), (len(body), pattern.digest(len(body))), tenant)
        equal(got["transfer-encoding"], "chunked", "Transfer-Encoding")


@check("-F: a form with files, and -d: a plain one")
def forms(stage: Stage) -> None:
    file = stage.directory / "photo.jpg"
    file.write_bytes(pattern.whole(300_000))
    got = curl("-F", "title=ein Bär", "-F", f"photo=@{file}", stage.url("thor", "/form")).json
    equal(got, {"title": "ein Bär", "photo": f"photo.jpg:{pattern.digest(300_000)}"})
    equal(curl("-d", "a=1", "--data-urlencode", "b=x y&z", stage.url("thor", "/form")).json, {"a": "1", "b": "x y&z"})


@check("methods: DELETE, PATCH, OPTIONS, and one of nobody's")
def methods(stage: Stage) -> None:
    for method in ("DELETE", "PATCH", "OPTIONS", "PROPFIND"):
        equal(curl("-X", method, stage.url("thor", "/echo")).json["method"], method)
    equal(curl("-X", "DELETE", "-d", "why", stage.url("thor", "/echo")).json["body"], "why")


@check("HEAD, and the connection is of use after it")
def head(stage: Stage) -> None:
    result = curl("-I", "-w", "%{num_connects}\n", stage.url("thor", "/bytes/5000"), stage.url("thor", "/file"))
    equal(result.out.lower().count(b"content-length: 5000\r\n"), 1, "Content-Length")
    equal(result.out.lower().count(b"content-length: 1048576\r\n"), 1, "Content-Length")
    equal(result.out.rstrip().endswith(b"0"), True, "no new connection")


@check("--http1.0: bodies of each framing, and the end of the connection")
def http10(stage: Stage) -> None:
    for tenant, path, size in (("thor", "/bytes", 5000), ("thor", "/chunked", 300_000), ("potter", "/until-close", 300_000)):
        result = curl("--http1.0", "-i", stage.url(tenant, path + (f"/{size}" if tenant == "thor" else "")))
        body = result.out.split(b"\r\n\r\n", 1)[1]
        equal(pattern.digest_of(body), pattern.digest(size), path)
        equal("transfer-encoding" in result.head, False, "chunked to HTTP/1.0")
    got = curl("--http1.0", "-d", "a=1", stage.url("thor", "/echo")).json
    equal((got["method"], got["body"]), ("POST", "a=1"))


@check("a body that ends with the app's connection")
def until_close(stage: Stage) -> None:
    url = stage.url("potter", "/until-close")
    result = curl("-w", "%{num_connects}", url, url)
    equal(pattern.digest_of(result.out[:300_000]), pattern.digest(300_000))
    equal(result.out[-1:], b"0", "new connections for the second")


@check("ranges, resumption, and a range that can't be")
def ranges(stage: Stage) -> None:
    url, whole = stage.url("thor", "/file"), pattern.whole(MIB)
    equal(curl("-r", "100-199", url).out, whole[100:200])
    equal(curl("-r", "-100", url).out, whole[-100:])
    equal("content-range: bytes 0-0/1048576\r\n" in curl("-i", "-r", "0-0", url).head, True, "Content-Range")
    partial = stage.directory / "partial"
    partial.write_bytes(whole[:400_000])
    curl("-C", "-", "-o", str(partial), url)
    equal(pattern.digest_of(partial.read_bytes()), pattern.digest(MIB), "resumed")
    equal(curl("-o", "/dev/null", "-w", "%{http_code}", "-r", "9999999-", url).out, b"416")


@check("ETag and time conditions: 304")
def conditions(stage: Stage) -> None:
    url, etag = stage.url("thor", "/file"), str(stage.directory / "etag")
    ask = ("-o", "/dev/null", "-w", "%{http_code} %{size_download}")
    equal(curl(*ask, "--etag-save", etag, url).out, b"200 1048576")
    equal(curl(*ask, "--etag-compare", etag, url).out, b"304 0")
    equal(curl(*ask, "-z", "1 Jan 2032", url).out, b"304 0")


@check("204 and 304 leave the connection as it should be")
def no_content(stage: Stage) -> None:
    urls = [stage.url("thor", path) for path in ("/status/204", "/status/304", "/status/204", "/status/205", "/echo")]
    numbers = curl("-w", "|%{http_code} %{num_connects}|", *urls).out
    equal(re.findall(rb"\|(\d+ \d)\|", numbers), [b"204 1", b"304 0", b"204 0", b"205 0", b"200 0"])


@check("--compressed, and the same as it is")
def compressed(stage: Stage) -> None:
    url = stage.url("thor", "/gzip")
    equal(pattern.digest_of(curl("--compressed", url).out), pattern.digest(100_000))
    equal(curl(url).out[:2], b"\x1f\x8b", "gzip's first bytes")


@check("--no-buffer: events as they happen")
def events(stage: Stage) -> None:
    process = subprocess.Popen(["curl", "-q", "-sSN", "--max-time", "15", stage.url("thor", "/sse/6")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    times = [time.monotonic() for line in process.stdout if line.startswith(b"data: ")]
    equal((process.wait(), len(times)), (0, 6), "exit code and events")
    equal(times[-1] - times[0] > 0.3, True, "they come one by one")


@check("trailers reach who asks for them")
def trailers(stage: Stage) -> None:
    asked = ("-D", "-", "-o", "/dev/null", "-H", "TE: trailers", "-H", "Connection: TE")
    dumped = curl(*asked, stage.url("potter", "/trailers")).out.decode().lower()
    equal(dumped.endswith(f"\r\n\r\nx-digest: {pattern.digest(200_000)}\r\n"), True, f"the trailer in {dumped!r}")
    equal(pattern.digest_of(curl(stage.url("potter", "/trailers")).out), pattern.digest(200_000), "without them")


@check("an upgrade to a WebSocket")
def upgrade(stage: Stage) -> None:
    """This curl doesn't answer the app's Close, so it waits until its own time is over."""
    key = ("-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    asked = ("-i", "-N", "--max-time", "1", "-H", "Connection: keep-alive, Upgrade", "-H", "Upgrade: websocket")
    result = curl(*asked, *key, stage.url("thor", "/ws-greeting"), code=28)
    equal(result.head.startswith("http/1.1 101 "), True, "101")
    equal("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" in result.head, True, "Sec-WebSocket-Accept")
    equal(result.out.split(b"\r\n\r\n", 1)[1], b"\x81\x05hello\x88\x02\x03\xe8", "greeting and Close")


@check("a large download, whole and in order")
def large(stage: Stage) -> None:
    for path in ("/bytes/", "/chunked/"):
        file = stage.directory / "large"
        curl("-o", str(file), stage.url("thor", f"{path}{64 * MIB}"))
        equal(pattern.digest_of(file.read_bytes()), pattern.digest(64 * MIB), path)


@check("--limit-rate: a slow reader gets all of it")
def slow_reader(stage: Stage) -> None:
    result = curl("--limit-rate", "4M", stage.url("thor", f"/bytes/{6 * MIB}"))
    equal(pattern.digest_of(result.out), pattern.digest(6 * MIB))


@check("--limit-rate: a slow writer is heard out")
def slow_writer(stage: Stage) -> None:
    got = curl("--limit-rate", "2M", "-T", "-", stage.url("thor", "/upload"), stdin=pattern.whole(2 * MIB)).json
    equal(got["sha256"], pattern.digest(2 * MIB))


@check("-x: as a plain proxy it leads to its tenants and nowhere else")
def proxy(stage: Stage) -> None:
    proxy = ("-x", f"http://127.0.0.1:{stage.port}")
    got = curl(*proxy, "http://thor.localhost/echo").json
    equal((got["tenant"], got["target"], header(got, "Host")), ("thor", "/echo", ["thor.localhost"]))
    equal(header(got, "Proxy-Connection"), [], "Proxy-Connection")
    app = f"http://127.0.0.1:{stage.ports['potter']}/echo"
    for url in ("http://elsewhere.test/", app):
        equal(curl(*proxy, "-o", "/dev/null", "-w", "%{http_code}", url).out, b"404", url)


@check("-p -x: CONNECT is refused")
def connect(stage: Stage) -> None:
    proxy = ("-p", "-x", f"http://127.0.0.1:{stage.port}", "-w", "%{http_connect}")
    for url in (stage.url("thor", "/echo"), f"http://127.0.0.1:{stage.ports['potter']}/echo"):
        result = curl(*proxy, url, code=56)
        equal(int(result.out) in (400, 403, 404, 405, 501), True, f"the answer to CONNECT, {result.out!r},")


@check("a host that is nobody's: 404, and no tenant is named")
def unknown(stage: Stage) -> None:
    for host in ("ron.localhost", "127.0.0.1", "localhost", "xthor.localhost"):
        result = curl("-i", "-H", f"Host: {host}", f"http://127.0.0.1:{stage.port}/echo")
        equal(result.head.startswith("http/1.1 404 "), True, host)
        equal(b"potter" in result.out or b"127.0.0.1:" in result.out, False, "it tells of tenants")


@check("hosts in capitals, with a dot, and below a wildcard")
def spellings(stage: Stage) -> None:
    for host in ("THOR.localhost", "thor.localhost.", "a.b.thor.localhost", f"Thor.LocalHost:{stage.port}"):
        got = curl("-H", f"Host: {host}", f"http://127.0.0.1:{stage.port}/echo").json
        equal((got["tenant"], header(got, "Host")), ("thor", [host]))


@check("paths arrive as they were typed")
def paths(stage: Stage) -> None:
    for path in ("/echo/../a/./b//c", "/echo/%2e%2e/%c3%a4?x=%zz", "/echo;v=1/(a),b'c*d", "/echo?"):
        equal(curl("--path-as-is", "-g", stage.url("thor", path)).json["target"], path)


@check("claims about the client are dropped")
def claims(stage: Stage) -> None:
    claims = ("X-Real-IP: 6.6.6.6", "X-Forwarded-For: 6.6.6.6", "X_Real_IP: 6.6.6.6", "Forwarded: for=6.6.6.6")
    got = curl(*(part for claim in claims for part in ("-H", claim)), stage.url("thor", "/echo"))
    equal(b"6.6.6.6" in got.out, False, "a claim arrived")


@check("large heads: 7 KiB of cookies arrive, 64 KiB get 431")
def large_heads(stage: Stage) -> None:
    cookie = "c=" + "x" * 7000
    equal(header(curl("-H", f"Cookie: {cookie}", stage.url("thor", "/echo")).json, "Cookie"), [cookie])
    arguments = ("-o", "/dev/null", "-w", "%{http_code}", "-H", f"Cookie: c={'x' * 65_536}")
    equal(curl(*arguments, stage.url("thor", "/echo")).out, b"431")


@check("cookies through a log-in, kept in a jar")
def cookies(stage: Stage) -> None:
    jar = str(stage.directory / "jar")
    equal(curl("-L", "-c", jar, "-b", jar, "-d", "user=thor", stage.url("thor", "/login")).json["session"], "s3cr3t")
    equal(curl("-b", jar, stage.url("thor", "/me")).json["theme"], "dark, mostly")
    result = curl("-i", stage.url("potter", "/cookies"))
    equal(re.findall("set-cookie: (.)=", result.head), ["a", "b", "c"], "Set-Cookie")


@check("-L: redirects by full address come back here")
def redirects(stage: Stage) -> None:
    equal(curl("-L", "-d", "a=1", stage.url("thor", "/redirect/303")).json["method"], "GET")
    got = curl("-L", "-d", "a=1", stage.url("thor", "/redirect/307")).json
    equal((got["method"], got["body"], got["target"]), ("POST", "a=1", "/echo/after"))


@check("an interim answer (103) is no obstacle")
def hints(stage: Stage) -> None:
    url = stage.url("potter", "/hints")
    equal(curl("-w", "%{num_connects}", "-o", "/dev/null", url, "-o", "/dev/null", url).out, b"10")
    equal(curl(url).json["tenant"], "potter")


@check("--http2: an upgrade to h2c isn't made, the answer is")
def h2c(stage: Stage) -> None:
    result = curl("--http2", "-w", "\n%{http_version}", stage.url("thor", "/echo"))
    body, version = result.out.rsplit(b"\n", 1)
    equal((json.loads(body)["tenant"], version), ("thor", b"1.1"))
    equal(header(json.loads(body), "Upgrade"), [], "Upgrade")


@check("a client that gives up: its line says so, and others go on")
def gives_up(stage: Stage) -> None:
    curl("--max-time", "0.3", stage.url("thor", "/slow/5000?curl"), code=28)
    line = stage.logged(path="/slow/5000?curl", status=499)
    equal(line["error"], "client_gone", "error")
    curl(stage.url("thor", "/echo"))


@check("--unix-socket")
def unix_socket(stage: Stage) -> None:
    equal(curl("--unix-socket", stage.unix_socket, "http://potter.localhost/echo").json["tenant"], "potter")
