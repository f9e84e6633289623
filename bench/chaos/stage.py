"""The tutorial's layout: two tenants' apps and the edges, all in one network, with the journal of what reached the apps.

Owns what is measured against what; the scenarios say what happens to it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import Engine, build, command, eventually
from load import TENANTS, Kind, Load

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent


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


def build_images(edges: list[str]) -> None:
    """From the project's own Dockerfiles, and from those beside this file."""
    command(str(PROJECT / "tools/base-images.sh"), "debian", "python", "rust", within_s=1800)
    build("hostler-chaos-polls", PROJECT / "polls")
    build("hostler-chaos-tenant", HERE / "images/tenant")
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
    """One network with what a scenario puts into it. Apps are called by their tenant, or `thor-2` and so on."""

    def __init__(self, engine: Engine, edges: list[str], files: Path) -> None:
        self.engine = engine
        self.edges = edges
        self._journal = files / "journal"
        self._journal.mkdir()
        self._journal.chmod(0o777)  # the apps are not root

    @classmethod
    @contextmanager
    def set(cls, edges: list[str], files: Path) -> Iterator["Stage"]:
        """An empty network; at the end everything is gone but the logs, which are in `files`."""
        engine = Engine()
        files.mkdir(parents=True)
        stage = cls(engine, edges, files)
        try:
            engine.network()
            yield stage
        finally:
            try:
                for edge in edges:
                    engine.save_logs(edge, files)
            finally:
                engine.clean()

    def start_apps(self) -> None:
        for tenant in TENANTS:
            self.start_app(tenant, tenant)
        eventually("both apps are ready", lambda: all(self.starts(tenant) for tenant in TENANTS))

    def start_app(self, name: str, tenant: str) -> None:
        options = ["--env", f"TENANT={tenant}", "--volume", f"{self._journal}:/journal"]
        self.engine.start_new(name, "hostler-chaos-tenant", *options, alias=f"{tenant}_web")

    def start_edges(self) -> None:
        for name in self.edges:
            edge = EDGES[name]
            conf = HERE / "conf" / edge.conf
            self.engine.start_new(name, edge.image, "--volume", f"{conf}:{edge.place}:ro")

    def load(self, rate: int, kinds: tuple[Kind, ...], edges: list[str] | None = None) -> Load:
        """Clients, from this machine to the edges' own addresses."""
        names = self.edges if edges is None else edges
        return Load({name: self.engine.address(name) for name in names}, rate, kinds)

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
