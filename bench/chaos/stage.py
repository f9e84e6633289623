"""Two tenants' apps and the edges in a layout of networks, with the journal of what reached the apps.

Owns what is measured against what; the scenarios say what happens to it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import Engine, build, command, eventually
from load import TENANTS, Kind, Load, Target
from probe import accepting_since

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent

EDGE_PORT = 8080
APP_PORT = 8000
APP_IMAGE = "hostler-chaos-tenant"
CLIENTS = "clients"


@dataclass(frozen=True)
class Edge:
    """An edge under test: its image, and which file of `conf` it finds at which place."""

    name: str
    title: str
    image: str
    conf: str
    place: str


EDGES = {
    edge.name: edge
    for edge in (
        Edge("hostler", "hostler", "hostler-chaos-edge", "proxy.toml", "/etc/hostler/proxy.toml"),
        Edge("nginx", "nginx, tutorial's conf", "hostler-chaos-nginx", "nginx.conf", "/etc/nginx/nginx.conf"),
        Edge(
            "nginx-resolver",
            "nginx, `resolver … valid=1s`",
            "hostler-chaos-nginx",
            "nginx-resolver.conf",
            "/etc/nginx/nginx.conf",
        ),
        Edge("caddy", "Caddy, `lb_try_duration 10s`", "hostler-chaos-caddy", "Caddyfile", "/etc/caddy/Caddyfile"),
    )
}


@dataclass(frozen=True)
class Layout:
    """Which networks there are: the one in which clients reach the edges, and each tenant's."""

    clients: str
    tenants: dict[str, str]

    @property
    def networks(self) -> list[str]:
        """The edges are in all of them, the clients' first."""
        return list(dict.fromkeys([self.clients, *self.tenants.values()]))


# The tutorial's: one network for everybody.
SHARED = Layout("all", {tenant: "all" for tenant in TENANTS})
# As docker-compose.yaml has it: nobody shares a network with a tenant but the edge.
OWN = Layout("edge", {tenant: f"tenant{number}" for number, tenant in enumerate(TENANTS, 1)})


def build_images(edges: list[str]) -> None:
    """From the project's own Dockerfiles, and from those beside this file."""
    command(str(PROJECT / "tools/base-images.sh"), "debian", "python", "rust", within_s=1800)
    build("hostler-chaos-polls", PROJECT / "polls")
    build(APP_IMAGE, HERE / "images/tenant")
    sources = {
        "hostler-chaos-edge": PROJECT,
        "hostler-chaos-nginx": HERE / "images/nginx",
        "hostler-chaos-caddy": HERE / "images/caddy",
    }
    for image in {EDGES[edge].image for edge in edges}:
        build(image, sources[image])


@dataclass(frozen=True)
class Arrival:
    """A request at an app, as its journal has it."""

    tenant: str
    method: str
    host: str
    path: str

    @property
    def edge(self) -> str:
        return self.path.split("/")[1]

    @property
    def wrong(self) -> bool:
        return self.host != f"{self.tenant}.polls.local"


class Stage:
    """The networks with what a scenario puts into them. Apps are called by their tenant, or `thor-2` and so on."""

    def __init__(self, engine: Engine, edges: list[str], files: Path, layout: Layout) -> None:
        self.engine = engine
        self.edges = edges
        self.layout = layout
        self._journal = files / "journal"
        self._journal.mkdir()
        self._journal.chmod(0o777)  # the apps are not root

    @classmethod
    @contextmanager
    def set(cls, edges: list[str], files: Path, layout: Layout = SHARED) -> Iterator["Stage"]:
        """Networks with nobody in them but the clients; at the end everything is gone but the logs, which are in `files`."""
        engine = Engine()
        files.mkdir(parents=True)
        stage = cls(engine, edges, files, layout)
        try:
            for network in layout.networks:
                engine.network(network)
            engine.start_new(CLIENTS, APP_IMAGE, networks=[layout.clients], says=("sleep", "infinity"))
            yield stage
        finally:
            try:
                for edge in edges:
                    engine.save_logs(edge, files)
            finally:
                engine.clean()

    def start_apps(self, *tenants: str) -> None:
        tenants = tenants or TENANTS
        for tenant in tenants:
            self.start_app(tenant, tenant)
        eventually(f"the apps of {tenants} start", lambda: all(self.starts(tenant) for tenant in tenants))

    def start_app(self, name: str, tenant: str) -> None:
        options = ["--env", f"TENANT={tenant}", "--volume", f"{self._journal}:/journal"]
        networks = [self.layout.tenants.get(tenant, self.layout.clients)]
        self.engine.start_new(name, APP_IMAGE, *options, networks=networks, alias=f"{tenant}_web")

    def start_edges(self) -> None:
        """Returns when all of them listen."""
        self.start_edges_alone()
        for name in self.edges:
            accepting_since(self.engine.namespace(CLIENTS), self.engine.address(name, self.layout.clients), EDGE_PORT)

    def start_edges_alone(self) -> None:
        """Without waiting for them: some end where there is no tenant."""
        for name in self.edges:
            edge = EDGES[name]
            conf = HERE / "conf" / edge.conf
            # As in the shipped stack: who stands in every tenant's network must not route from one to another.
            options = ["--volume", f"{conf}:{edge.place}:ro", "--sysctl", "net.ipv4.ip_forward=0"]
            self.engine.start_new(name, edge.image, *options, networks=self.layout.networks)

    def load(self, rate: int, kinds: tuple[Kind, ...], edges: list[str] | None = None) -> Load:
        """Clients of each edge for each tenant."""
        targets = [
            Target(edge, tenant, self.engine.address(edge, self.layout.clients), EDGE_PORT)
            for edge in (self.edges if edges is None else edges)
            for tenant in TENANTS
        ]
        return Load(targets, rate, kinds, self.engine.namespace(CLIENTS))

    def app_address(self, tenant: str) -> str:
        return self.engine.address(tenant, self.layout.tenants[tenant])

    def accepting_since(self, tenant: str) -> float | None:
        """Waits until the tenant's app, whose container is starting, accepts; see `probe`."""
        return accepting_since(self.engine.namespace(CLIENTS), self.app_address(tenant), APP_PORT)

    def arrivals(self) -> list[Arrival]:
        return [
            Arrival(tenant, line["method"], line["host"], line["path"])
            for tenant in TENANTS
            for line in self._lines(tenant)
        ]

    def starts(self, tenant: str) -> list[float]:
        """When apps of the tenant were about to accept, in order."""
        return [line["time"] for line in self._lines(f"{tenant}.starts")]

    def next_start(self, tenant: str, after: float) -> float:
        """Waits until an app of the tenant has started after that; returns when."""
        eventually(f"{tenant} starts", lambda: self._latest(tenant) > after)
        return self._latest(tenant)

    def _latest(self, tenant: str) -> float:
        return max(self.starts(tenant), default=0)

    def _lines(self, journal: str) -> list[dict[str, Any]]:
        file = self._journal / journal
        text = file.read_text() if file.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # a line may be about to be written
        return [json.loads(line) for line in whole.splitlines()]
