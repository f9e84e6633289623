"""The edges that are compared: how each is configured for the same job."""

import signal
from pathlib import Path

import peers
from edge import Edge, Setting, host

HEADERS = """
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;"""


# Of two that set one field, the last one counts.
SWITCH = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'


def hostler(setting: Setting) -> list[str | Path]:
    access = "true" if setting.log else "false"
    text = f'listen = "127.0.0.1:{setting.port}"\nadmin.listen = "127.0.0.1:0"\nlog = {{ format = "json", access = {access} }}\n'
    routes = [
        f'[routes.t{i}]\nhosts = ["{host(i)}"]\nupstream = "http://127.0.0.1:{setting.app}"\n' for i in range(setting.tenants)
    ]
    (setting.files / "proxy.toml").write_text(text + "".join(routes))
    return [setting.binary, "run", "--config", setting.files / "proxy.toml"]


def nginx(setting: Setting, *, tuned: bool = True, log: str = "", body: str = "") -> list[str | Path]:
    keep = "keepalive 128; keepalive_requests 10000;" if tuned else ""
    location = f'proxy_http_version 1.1; proxy_set_header Connection "";{HEADERS}{body}' if tuned else (
        "proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;"
    )
    reuse = " reuseport" if tuned else ""
    # Without it, a host that nobody has would be the first tenant's.
    servers = [f"server {{ listen 127.0.0.1:{setting.port} default_server{reuse}; return 404; }}"]
    for i in range(setting.tenants):
        upstream = f"http://a{i}" if tuned else f"http://127.0.0.1:{setting.app}"
        if tuned:
            servers.append(f"upstream a{i} {{ server 127.0.0.1:{setting.app}; {keep} }}")
        tunnel = f"location = /echo {{ proxy_pass {upstream}; {location} {SWITCH} }}" if tuned and setting.tunnels else ""
        servers.append(f"server {{ listen 127.0.0.1:{setting.port}; server_name {host(i)}; location / {{ proxy_pass {upstream}; {location} }} {tunnel} }}")
    hash_size = max(512, 1 << (setting.tenants * 2 - 1).bit_length())
    access = f"access_log {setting.files}/access.log combined{log};" if setting.log else "access_log off;"
    (setting.files / "nginx.conf").write_text(f"""
daemon off; pid {setting.files}/nginx.pid; error_log {setting.files}/error.log;
worker_processes {setting.workers}; worker_rlimit_nofile 65536;
events {{ worker_connections 30000; }}
http {{
    {access} keepalive_requests 10000; client_max_body_size 200m; server_names_hash_max_size {hash_size};
    server_names_hash_bucket_size 128; client_body_temp_path {setting.files}/body; proxy_temp_path {setting.files}/proxy;
    fastcgi_temp_path {setting.files}/fastcgi; uwsgi_temp_path {setting.files}/uwsgi; scgi_temp_path {setting.files}/scgi;
    {"".join(servers)}
}}
""")
    return ["nginx", "-c", setting.files / "nginx.conf"]


def haproxy(setting: Setting) -> list[str | Path]:
    names = [f"{host(i)} b{i}\n" for i in range(setting.tenants)]
    (setting.files / "hosts.map").write_text("".join(names))
    backends = [
        f"backend b{i}\n  http-reuse always\n  server a 127.0.0.1:{setting.app}\n" for i in range(setting.tenants)
    ]
    log = "  log global\n  option httplog\n" if setting.log else ""
    (setting.files / "haproxy.cfg").write_text(f"""
global
  nbthread {setting.workers}
  maxconn 9000
{"  log stdout format raw local0" if setting.log else ""}
defaults
  mode http
  option forwardfor
  option http-keep-alive
  timeout client 75s
  timeout server 60s
  timeout connect 2s
{log}frontend f
  bind 127.0.0.1:{setting.port}
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  use_backend %[req.hdr(host),lower,map({setting.files}/hosts.map)]
{"".join(backends)}""")
    return ["haproxy", "-W", "-db", "-f", setting.files / "haproxy.cfg"]


UNBUFFERED = " proxy_buffering off; proxy_request_buffering off;"
EDGES = {
    edge.name: edge
    for edge in (
        Edge("hostler", "hostler", hostler),
        Edge("nginx", "nginx, tuned (kept upstream connections)", nginx),
        Edge("nginx-log-buffered", "nginx, tuned, its log in a buffer", lambda s: nginx(s, log=" buffer=64k flush=1s")),
        Edge("nginx-streaming", "nginx, tuned, without buffering bodies", lambda s: nginx(s, body=UNBUFFERED)),
        Edge("nginx-tutorial", "nginx, the tutorial's conf", lambda s: nginx(s, tuned=False)),
        Edge("haproxy", "HAProxy", haproxy, reload=lambda edge: edge.signal(signal.SIGUSR2)),
        *peers.PEERS,
    )
}
