"""What the page has to do, one function each, in the order in which they are run.

A check reads what a person would see, and waits for it. Where one needs an answer that no edge gives when told to, such as a
tenant whose name is HTML, it edits the edge's answers on their way to the page.
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chromium import Browser, Failed, Page
from stage import BUSY, GONE, MISTAKE, TENANTS, Stage

PICTURES = Path(__file__).resolve().parent.parent.parent / "target/browser"
PHONE = (375, 812)
# Name as the edge has it, the class of its cells, and how its cells become what they are sorted by.
SORTS = {
    "requests_per_second": "rps", "p50_ms": "p50", "p99_ms": "p99", "errors_per_second": "eps", "in_flight": "flight", "queued": "queued",
}  # fmt: skip
STATES = ["up", "idle", "aside", "out", "away"]
# Of text and of large text, WCAG 2.2, 1.4.3.
CONTRAST, CONTRAST_LARGE = 4.5, 3.0
HTML = "<b>bold</b><img src=x onerror=\"document.title='run'\">"
# A name that stands in a path as it is only if somebody has forgotten to encode it.
ODD = "a&b=c #d/é%?+"

Run = Callable[[Browser, Stage], str | None]


@dataclass(frozen=True)
class Check:
    name: str
    run: Run


ALL: list[Check] = []


def check(name: str) -> Callable[[Run], Run]:
    def add(run: Run) -> Run:
        ALL.append(Check(name, run))
        return run

    return add


@check("it is one document, with a policy that lets nothing else in")
def one_document(browser: Browser, stage: Stage) -> str:
    with shown(browser, stage) as page:
        equal([urlsplit(url).path for url in page.requests][0], "/")
        equal({urlsplit(url).path for url in page.requests}, {"/", "/live"}, "what was asked for")
        policy = page.headers.get("content-security-policy", "")
        if "default-src 'none'" not in policy:
            raise Failed(f"its policy is {policy!r}")
        length = page.evaluate("fetch('.').then((answer) => answer.arrayBuffer()).then((bytes) => bytes.byteLength)")
        return f"{length:,} bytes"


@check("tenants are shown, with the edge above them")
def rows(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage) as page:
        equal(page.evaluate("document.querySelectorAll('tr.row').length"), 100)
        equal(text(page, "#above .shown"), f"1–100 of {TENANTS:,}")
        page.until("the edge is ready", "document.querySelector('#ready').textContent === 'ready'")
        totals = page.evaluate("document.querySelector('#totals').innerText")
        for term in ("Tenants", "Requests/s", "Errors/s", "In flight", "Queued", "Connections", "Unrouted/s", "Log dropped"):
            if term not in totals:
                raise Failed(f"no {term} in {totals!r}")
        bar = text(page, "#bar")
        for word in ("generation", "up ", "worker", "live"):
            if word not in bar:
                raise Failed(f"no {word!r} in {bar!r}")
        row = page.evaluate("[...document.querySelectorAll('tr.row:first-child td')].map((cell) => cell.innerText)")
        equal(len(row), 10, "the cells of a row")


@check("states are told apart")
def states(browser: Browser, stage: Stage) -> None:
    for name, states in ((BUSY, ["up"]), (GONE, ["aside", "away"]), ("sick", ["out"])):
        with shown(browser, stage, f"search={name}") as page:
            page.until(f"{name} is {states}", f"{json.dumps(states)}.includes({cell(name, 'state')})")


@check("numbers are live, and one request is on its way at a time")
def live(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage, f"search={BUSY}") as page:
        page.until("there is a rate", f"parseFloat({cell(BUSY, 'rps')}) > 0")
        page.click(selector_of(BUSY))
        requests = fact("Requests")
        page.until("details are shown", f"{number(requests)} > 0")
        for _ in range(3):
            before = page.evaluate(number(requests))
            page.until("there are more requests", f"{number(requests)} > {before}")
        equal(page.most_on_their_way, 1, "requests at one time")


@check("the search finds names and hosts, and says how many")
def search(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage) as page:
        page.press("/")  # which leads into the box
        page.type(BUSY)
        page.until("one is found", f"{names()}.join() === {json.dumps(BUSY)}")
        equal(text(page, "#above .shown"), "1–1 of 1 found")
        replace_search(page, f"www.{BUSY}.")
        page.until("a host is found", f"new URLSearchParams(location.hash.slice(1)).get('search') === 'www.{BUSY}.' && {names()}.join() === {json.dumps(BUSY)}")
        replace_search(page, "nobody at all")
        page.until("nobody is found, and that is said", "document.querySelector('#none').innerText === 'No tenant is found by “nobody at all”.'")
        replace_search(page, "")
        page.until("all are shown", f"document.querySelector('#above .shown').textContent === '1–100 of {TENANTS:,}'")


@check("each column sorts, both ways")
def sort(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage) as page:
        for column, kind in SORTS.items():
            page.click(f"[data-sort={column}]")
            if column == "requests_per_second":  # by which it was sorted, downwards
                sorted_by(page, column, "ascending", kind)
                page.click(f"[data-sort={column}]")
                sorted_by(page, column, "descending", kind)
            else:
                sorted_by(page, column, "descending", kind)
                page.click(f"[data-sort={column}]")
                sorted_by(page, column, "ascending", kind)
        for column, orders in (("state", ("descending", "ascending")), ("tenant", ("ascending", "descending"))):
            for order in orders:
                page.click(f"[data-sort={column}]")
                sorted_by(page, column, order, {"state": "state", "tenant": "name"}[column])


@check("who changes their mind sees the last, and nobody waits for the others")
def last_of_many(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage) as page:
        page.evaluate("for (const button of document.querySelectorAll('th button')) button.click()")
        sorted_by(page, "queued", "descending", "queued")
        equal(page.most_on_their_way, 1, "requests at one time")


@check("the keyboard sorts and opens a row")
def keyboard(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage) as page:
        focus(page, "document.activeElement.dataset.sort === 'tenant'")
        page.press("Enter")
        sorted_by(page, "tenant", "ascending", "name")
        page.press(" ")
        sorted_by(page, "tenant", "descending", "name")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        equal(outline, "solid", "the outline of what has the focus")
        focus(page, "document.activeElement.closest('tr.row') !== null")
        page.press("Enter")
        page.until("details are shown", "document.activeElement.ariaExpanded === 'true' && document.querySelector('tr.more')")
        page.press("Enter")
        page.until("they are gone", "document.activeElement.ariaExpanded === 'false' && !document.querySelector('tr.more')")


@check("pages follow on each other to the last")
def paging(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage, "sort=tenant&order=asc&limit=50") as page:
        page.until("50 rows", f"{names()}.length === 50")
        equal(page.evaluate("document.querySelector('#above [data-step=\"-1\"]').disabled"), True, "previous of the first")
        first = page.evaluate(names())
        page.click("#above [data-step='1']")
        page.until("the second page", f"document.querySelector('#above .shown').textContent === '51–100 of {TENANTS:,}'")
        second = page.evaluate(names())
        equal(sorted({*first, *second}), first + second, "100 tenants in their order")
        page.click("#below [data-step='-1']")
        page.until("the first page", f"{names()}.join() === {json.dumps(','.join(first))}")
        choose(page, "#limit", "100")
        page.until("100 rows", f"{names()}.length === 100")
        page.evaluate(f"location.hash = 'sort=tenant&order=asc&offset={TENANTS * 2}'")
        page.until("the last page", f"document.querySelector('#above .shown').textContent === '{TENANTS - 99:,}–{TENANTS:,} of {TENANTS:,}'")
        equal(page.evaluate("document.querySelector('#above [data-step=\"1\"]').disabled"), True, "next of the last")


@check("an address brings back search, order and page")
def address(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage) as page:
        page.click("[data-sort=tenant]")
        page.click("#above [data-step='1']")
        page.until("the second page", f"document.querySelector('#above .shown').textContent.startsWith('101–200 of')")
        before = page.evaluate(names())
        equal(in_address(page), {"sort": ["tenant"], "order": ["asc"], "offset": ["100"]})
        page.reload()
        page.until("the same rows", f"{names()}.join() === {json.dumps(','.join(before))}")
        sorted_by(page, "tenant", "ascending", "name")
        replace_search(page, "a&b=c #é")
        page.until("the search is in the address", "location.hash.includes('search=')")
        equal(in_address(page), {"sort": ["tenant"], "order": ["asc"], "search": ["a&b=c #é"]})
        page.reload()
        page.until("it is in the box", "document.querySelector('#search').value === 'a&b=c #é'")
        page.evaluate("location.hash = 'sort=no&order=no&offset=-1&limit=7&search=thor'")
        page.until("what makes no sense is left out", f"{names()}.join() === {json.dumps(BUSY)}")


@check("a row opens what there is to know, and leads to its routes")
def details(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage, f"search={BUSY}") as page:
        page.click(selector_of(BUSY))
        for term in ("Hosts", "Requests", "Errors", "From clients", "To clients", "Limit: in flight", "Limit: queued", "Limit: rate", "Limit: connections", "Last error"):
            page.until(f"{term} is told", fact(term))
        if BUSY not in page.evaluate(fact("Hosts")):
            raise Failed("not its hosts")
        page.click("tr.more a")
        page.until("its routes", f"location.pathname === '/routes' && document.body.innerText.includes('\"tenant\":') && document.body.innerText.includes({json.dumps(BUSY)})")


@check("details stay open and the focus stays where it is, while numbers come")
def stays(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage, "limit=50") as page:
        name = page.evaluate(f"{names()}[7]")
        page.evaluate(f"document.querySelector({selector(name)} + ' button').focus()")
        page.press("Enter")
        page.until("details are shown", "document.querySelector('tr.more')")
        seen = len(page.requests)
        page.until("three answers more", f"performance.getEntriesByType('resource').length > {seen + 2}")
        equal(page.evaluate("document.activeElement.closest('tr').dataset.tenant"), name, "what has the focus")
        equal(page.evaluate("document.querySelector('tr.more').previousSibling.dataset.tenant"), name, "whose details are shown")


@check("names and hosts that are HTML are text")
def html(browser: Browser, stage: Stage) -> None:
    edit = f"""answer.rows[0].tenant = {json.dumps(HTML)}; answer.rows[0].hosts = [{json.dumps(HTML)}];
        answer.rows[0].last_error = {{ label: {json.dumps(HTML)}, status: 502, ms_ago: 5 }};
        answer.rows[0].state = {json.dumps(HTML)}; answer.rows[0].limits.rate = {json.dumps(HTML)};
        answer.version = {json.dumps(HTML)}; answer.last_reload_error = {json.dumps(HTML)};"""
    with shown(browser, stage, before=edited(edit)) as page:
        page.click("tr.row button")
        page.until("details are shown", "document.querySelector('tr.more')")
        equal(page.evaluate(f"{names()}[0]"), HTML)
        equal(page.evaluate("document.querySelector('#reload-error').textContent"), HTML)
        if HTML not in page.evaluate("document.querySelector('tr.more').innerText"):
            raise Failed("the details have it otherwise")
        equal(page.evaluate("document.querySelectorAll('b, img').length"), 0, "elements made of text")
        equal(page.evaluate("document.title"), "hostler")


@check("the link to a tenant's routes is percent-encoded")
def encoded(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage, before=edited(f"answer.rows[0].tenant = {json.dumps(ODD)};")) as page:
        page.click("tr.row button")
        link = page.until("there is a link", "document.querySelector('tr.more a')?.getAttribute('href')")
        equal(link, "routes?tenant=a%26b%3Dc%20%23d%2F%C3%A9%25%3F%2B")


@check("what isn't known yet is no zero")
def unknown(browser: Browser, stage: Stage) -> None:
    edit = f"answer.interval_ms = 0; for (const row of answer.rows) {{ row.p50_ms = row.p99_ms = null; row.requests_per_second = 0; }}"
    with shown(browser, stage, f"search={BUSY}", before=edited(edit)) as page:
        equal([page.evaluate(cell(BUSY, kind)) for kind in ("rps", "p50", "p99")], ["–", "–", "–"])


@check("a reload that failed is told above all, and no longer than it is so")
def reload_error(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage) as page:
        equal(page.evaluate("document.querySelector('#reload').checkVisibility()"), False)
        stage.mistake()
        try:
            page.until("it is told", f"document.querySelector('#reload').checkVisibility() && document.querySelector('#reload-error').textContent.includes({json.dumps(MISTAKE)})")
            top = page.evaluate("document.querySelector('#reload').getBoundingClientRect().top")
            below = page.evaluate("document.querySelector('#totals').getBoundingClientRect().top")
            if not 0 < top < below:
                raise Failed(f"it is at {top}, and the totals are at {below}")
            page.screenshot(PICTURES / "reload-error.png")
        finally:
            stage.mend()
        page.until("it is gone", "!document.querySelector('#reload').checkVisibility()")
        equal(page.evaluate("document.title"), "hostler")


@check("an edge that is gone is told at once; back, it is live again")
def gone(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage, f"search={BUSY}", loud=True) as page:
        try:
            stage.end()
            page.until("it is told", silent())
            equal(page.evaluate("document.title"), "hostler: no answer")
            if not text(page, "#silent").startswith("The edge doesn't answer. What is shown is of "):
                raise Failed(f"it says {text(page, '#silent')!r}")
            equal(page.evaluate(names()), [BUSY], "what is still shown")
            page.screenshot(PICTURES / "no-answer.png")
        finally:
            if not stage.process:
                stage.start()
        page.until("it is live", f"!{silent()} && {heard()}")
        equal(page.evaluate("document.title"), "hostler")


@check("an edge that is there and answers nothing is told, with one request on its way")
def halted(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage, loud=True) as page:
        stage.halt()
        try:
            page.until("it is told", silent())
            equal(page.most_on_their_way, 1, "requests at one time")
        finally:
            stage.go_on()
        page.until("it is live", f"!{silent()} && {heard()}")
        equal(page.most_on_their_way, 1, "requests at one time")


@check("nobody is asked for a page that isn't seen")
def hidden(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage) as page:
        # While it waits for its next turn, and while it waits for an answer.
        for moment in ("!asking", "ask() && asking"):
            page.until("the moment has come", f"{moment} && ({see(False)})")
            page.until("nothing is on its way", "!asking")
            before = len(page.requests)
            # That nothing happens can't be waited for: as long as two turns take.
            time.sleep(2.2)
            page.evaluate("0")
            equal(len(page.requests), before, "requests")
            page.evaluate(see(True))
            page.until("it asks again", f"performance.getEntriesByType('resource').length >= {before}")


@check("a phone's width is enough, and a tap opens a row")
def phone(browser: Browser, stage: Stage) -> None:
    with shown(browser, stage, size=PHONE) as page:
        fits(page)
        name = page.evaluate(f"{names()}[1]")
        page.tap(selector_of(name))
        page.until("details are shown", "document.querySelector('tr.more')")
        fits(page)
        page.screenshot(PICTURES / "phone-details.png")
        page.evaluate("scrollTo(0, 0)")
        page.tap(selector_of(name))
        page.until("they are gone", "!document.querySelector('tr.more')")
        choose(page, "#sort", "tenant")
        page.until("it is sorted", f"{names()}.join() === {names()}.sort().join()")
        small = page.evaluate("""[...document.querySelectorAll("button, select, input")].filter((one) => one.checkVisibility() && !one.closest("tr"))
            .filter((one) => one.offsetHeight < 36).map((one) => one.outerHTML)""")
        equal(small, [], "what is too small for a finger")
        for width in (320, 640, 800, 1024):
            page.resize(width, 800)
            fits(page)


@check("long names and large numbers stay within their places")
def large(browser: Browser, stage: Stage) -> None:
    edit = f"""for (const row of answer.rows) {{
        row.tenant = row.tenant.padEnd(63, "x"); row.hosts = Array(40).fill("y".repeat(60) + "." + "z".repeat(60));
        row.requests_per_second = 123456.7; row.p99_ms = 59999.9; row.errors_per_second = 12345.6; row.in_flight = row.queued = 65536;
        row.limits = {{ requests: 65536, queue: 65536, connections: 65536, rate: "1000000/s burst 1000000", rate_per_client: "100000/s burst 100000" }};
        row.last_error = {{ label: "client_rate_limited", status: 429, ms_ago: 8e9 }};
    }} answer.edge.requests_per_second = 1234567.8; answer.edge.connections = answer.edge.connections_max = 1000000;"""
    with shown(browser, stage, before=edited(edit)) as page:
        for width in (320, 375, 640, 820, 1024, 1280, 1440, 1920):
            page.resize(width, 900)
            fits(page)
            cut = page.evaluate("""[...document.querySelectorAll("td:is(.rps, .p50, .p99, .eps, .flight, .queued), #totals dd")]
                .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1).map((one) => `${one.className} ${one.innerText}`)""")
            equal(sorted(set(cut)), [], f"numbers that are cut at {width} px")


@check("text stands out from its ground, in light and in dark")
def contrast(browser: Browser, stage: Stage) -> str:
    least = []
    stage.mistake()
    try:
        for dark in (False, True):
            with shown(browser, stage, "sort=errors_per_second", dark=dark) as page:
                page.click("tr.row button")
                page.until("details are shown", "document.querySelector('tr.more')")
                page.until("the mistake is told", "document.querySelector('#reload').checkVisibility()")
                ground = page.evaluate("luminance(getComputedStyle(document.body).backgroundColor)") if page.evaluate(CONTRASTS) else None
                equal(ground < 0.1, dark, "whether the ground is dark")
                seen = page.evaluate("contrasts()")
                poor = [one for one in seen if one["ratio"] < (CONTRAST_LARGE if one["large"] else CONTRAST)]
                equal(poor[:8], [], f"text that is hard to read, of {len(seen)}")
                least.append(min(one["ratio"] for one in seen))
    finally:
        stage.mend()
    return f"least in light {least[0]:.1f}, in dark {least[1]:.1f}"


@check("10,000 tenants are searched while somebody types")
def soon(browser: Browser, stage: Stage) -> str:
    with shown(browser, stage) as page:
        page.click("#search")
        began = time.monotonic()
        page.type(BUSY)
        page.until("it is found", f"{names()}.join() === {json.dumps(BUSY)}")
        typed = time.monotonic() - began
        took = page.evaluate("performance.getEntriesByType('resource').at(-1).duration")
        equal(page.most_on_their_way, 1, "requests at one time")
        return f"{typed * 1000:.0f} ms from the first letter, the last answer took {took:.0f} ms"


@check("pictures are taken")
def pictures(browser: Browser, stage: Stage) -> str:
    for name, dark, size, where in (
        ("light", False, (1440, 900), ""),
        ("dark", True, (1440, 900), ""),
        ("narrow", False, (820, 900), ""),
        ("phone", False, PHONE, "sort=errors_per_second"),
        ("phone-dark", True, PHONE, ""),
    ):
        with shown(browser, stage, where, dark=dark, size=size) as page:
            page.until("there are rates", "document.querySelector('tr.row .rps').innerText > '0'")
            page.screenshot(PICTURES / f"{name}.png")
    for name, dark in (("details", False), ("details-dark", True)):
        with shown(browser, stage, "sort=errors_per_second", dark=dark) as page:
            page.click("tr.row:nth-child(2) button")
            page.until("details are shown", "document.querySelector('tr.more')")
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(PICTURES / f"{name}.png")
    return "target/browser"


# --- What checks have in common


def shown(browser: Browser, stage: Stage, where: str = "", **more: Any) -> AbstractContextManager[Page]:
    """A page that has had its first answer."""
    return Shown(browser.page(f"{stage.url}#{where}", **more))


class Shown(AbstractContextManager[Page]):
    def __init__(self, page: AbstractContextManager[Page]) -> None:
        self.page = page

    def __enter__(self) -> Page:
        page = self.page.__enter__()
        try:
            page.until("an answer is shown", f"document.readyState === 'complete' && {heard()} && last !== null")
        except BaseException as error:
            self.page.__exit__(type(error), error, error.__traceback__)
            raise
        return page

    def __exit__(self, *raised: Any) -> bool | None:
        return self.page.__exit__(*raised)


def edited(edit: str) -> str:
    """A script that has `edit` change each `answer` before the page gets it."""
    return f"""const asked = window.fetch;
        window.fetch = async (...of) => {{
            const response = await asked(...of), answer = await response.json();
            {edit}
            return Response.json(answer);
        }};"""


def see(seen: bool) -> str:
    """Has the tab be in front, or behind another."""
    return f"""Object.defineProperty(document, "hidden", {{ value: {json.dumps(not seen)}, configurable: true }})
        && document.dispatchEvent(new Event("visibilitychange"))"""


def replace_search(page: Page, wanted: str) -> None:
    page.click("#search")
    page.evaluate("document.querySelector('#search').select()")
    page.press("Backspace")
    page.type(wanted)


def choose(page: Page, select: str, value: str) -> None:
    """What a person picks from the list, which a page can't see being open."""
    page.evaluate(f"""(() => {{ const select = document.querySelector({json.dumps(select)}); select.value = {json.dumps(value)};
        select.dispatchEvent(new Event("change", {{ bubbles: true }})); }})()""")


def focus(page: Page, where: str) -> None:
    """By the key that leads from one to the next."""
    for _ in range(60):
        if page.evaluate(where):
            return
        page.press("Tab")
    raise Failed(f"Tab doesn't lead to where {where}")


def sorted_by(page: Page, column: str, order: str, kind: str) -> None:
    """It says so, and it is so."""
    page.until(f"it is sorted by {column}, {order}", f"""document.querySelector('[data-sort={column}]').parentNode.ariaSort === '{order}'
        && document.querySelectorAll('th[aria-sort]').length === 1 && !asking""")
    seen = page.until("there are rows", f"[...document.querySelectorAll('tr.row .{kind}')].map((cell) => cell.{'firstChild.firstChild.textContent' if kind == 'name' else 'firstChild.textContent'})")
    values = [value(one, kind) for one in seen]
    wanted = sorted(values, reverse=order == "descending")
    equal(values, wanted, f"{column}, {order}")


def value(shown: str, kind: str) -> Any:
    if kind == "name":
        return shown
    if kind == "state":
        return STATES.index(shown)
    # Nothing known is least, and what is shown as too little for a number is more than nothing.
    return {"–": -1.0, "<0.1": 0.05}.get(shown) or float(shown.replace(",", ""))


def fits(page: Page) -> None:
    wide = page.evaluate("""[document.documentElement.scrollWidth, document.documentElement.clientWidth,
        [...document.body.querySelectorAll("*")].filter((one) => one.checkVisibility() && !one.closest(".unseen, pre")
            && one.getBoundingClientRect().right > document.documentElement.clientWidth + 1).slice(0, 3).map((one) => one.outerHTML.slice(0, 200))]""")
    if wide[0] > wide[1] or wide[2]:
        raise Failed(f"the page is {wide[0]} px wide, and {wide[1]} are seen: {wide[2]}")


def in_address(page: Page) -> dict[str, list[str]]:
    return parse_qs(page.evaluate("location.hash").removeprefix("#"))


def selector_of(name: str) -> str:
    return f'tr.row[data-tenant="{name}"] button'


def selector(name: str) -> str:
    """As a string of the script."""
    return json.dumps(f'tr.row[data-tenant="{name}"]')


def cell(name: str, kind: str) -> str:
    return f"document.querySelector({selector(name)} + ' .{kind}')?.innerText.trim()"


def fact(term: str) -> str:
    return f"[...document.querySelectorAll('tr.more dt')].find((dt) => dt.textContent === {json.dumps(term)})?.nextSibling.textContent"


def number(script: str) -> str:
    return f"Number(({script} ?? '').replaceAll(',', ''))"


def names() -> str:
    return "[...document.querySelectorAll('tr.row')].map((row) => row.dataset.tenant)"


def silent() -> str:
    return "document.querySelector('#silent').checkVisibility()"


def heard() -> str:
    return "document.querySelector('#heard')?.textContent.startsWith('live')"


def text(page: Page, selector: str) -> str:
    return page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")


def equal(got: Any, expected: Any, what: str = "it") -> None:
    if got != expected:
        raise Failed(f"{what}: {str(got)[:800]!r}, expected {str(expected)[:800]!r}")


# WCAG 2.2: relative luminance and contrast ratio. Of each text that is seen, with all that lies under it.
CONTRASTS = """
function colour(text) {
  const canvas = (window.canvas ??= new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true }));
  canvas.clearRect(0, 0, 1, 1), (canvas.fillStyle = text), canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}
const over = (top, ground) => ground.map((value, index) => top[index] * top[3] + value * (1 - top[3]));
function luminance(rgb) {
  const [r, g, b] = (typeof rgb === "string" ? colour(rgb) : rgb).map((value) => value / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ground(element) {
  const behind = element.parentElement ? ground(element.parentElement) : [255, 255, 255];
  return over(colour(getComputedStyle(element).backgroundColor), behind);
}
function contrasts() {
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode()); ) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility({ visibilityProperty: true }) || element.closest("script, style, .unseen, :disabled")) continue;
    const style = getComputedStyle(element), behind = ground(element);
    let top = colour(style.color);
    for (let one = element; one; one = one.parentElement) top = [...top.slice(0, 3), top[3] * getComputedStyle(one).opacity];
    const [high, low] = [luminance(over(top, behind)), luminance(behind)].sort((a, b) => b - a);
    const px = parseFloat(style.fontSize), large = px >= 24 || (px >= 18.66 && style.fontWeight >= 700);
    found.push({ text: node.textContent.trim().slice(0, 40), ratio: Math.round(((high + 0.05) / (low + 0.05)) * 100) / 100, large, colour: style.color });
  }
  return found;
}
true
"""
