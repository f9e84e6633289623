"""The table's ratios as a picture, for docs/performance.md: a row for each workload, a mark for each edge."""

from html import escape
from math import log10
from statistics import median
from typing import Any

from edges import EDGES
from workloads import WORKLOADS

LEFT, WIDTH, ROW, TOP = 400, 560, 26, 84
LEAST, MOST = 0.1, 10.0
COLOURS = {
    "hostler": "#c2410c",
    "nginx": "#15803d",
    "nginx-log-buffered": "#86efac",
    "nginx-streaming": "#4ade80",
    "nginx-tutorial": "#a3a3a3",
    "haproxy": "#1d4ed8",
    "caddy": "#0891b2",
    "traefik": "#7c3aed",
    "envoy": "#db2777",
}


def picture(figures: dict[str, dict[str, list[dict[str, float]]]], title: str) -> str:
    rows = [(WORKLOADS[name].title, ratios(rounds)) for name, rounds in figures.items() if "nginx" in rounds]
    names = [name for name in COLOURS if any(name in row for _, row in rows)]
    height = TOP + ROW * len(rows) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 30} {height}" font-family="system-ui, sans-serif" font-size="13">',
        "<style>text{fill:#1f2328}.grid{stroke:#d0d7de}.one{stroke:#57606a}@media(prefers-color-scheme:dark){text{fill:#e6edf3}"
        ".grid{stroke:#30363d}.one{stroke:#8b949e}}</style>",
        f'<text x="12" y="24" font-size="16" font-weight="600">{escape(title)}</text>',
        *legend(names),
    ]
    for value in (0.1, 0.2, 0.5, 1, 2, 5, 10):
        kind = "one" if value == 1 else "grid"
        lines.append(f'<line class="{kind}" x1="{at(value):.1f}" x2="{at(value):.1f}" y1="{TOP - 8}" y2="{height - 30}"/>')
        lines.append(f'<text x="{at(value):.1f}" y="{height - 12}" text-anchor="middle">{value:g} ×</text>')
    for number, (workload, row) in enumerate(rows):
        y = TOP + ROW * number + ROW / 2
        lines.append(f'<text x="{LEFT - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(workload)}</text>')
        # hostler last, so that nothing lies over it.
        for name in sorted(row, key=lambda name: name == "hostler"):
            radius = 7 if name == "hostler" else 5
            where = f"{EDGES[name].title}: {row[name]:.2f} ×"
            lines.append(f'<circle cx="{at(row[name]):.1f}" cy="{y:.1f}" r="{radius}" fill="{COLOURS[name]}"><title>{escape(where)}</title></circle>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def ratios(rounds: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    return {
        name: median(one["cpu_us"] / base["cpu_us"] for one, base in zip(mine, rounds["nginx"])) for name, mine in rounds.items()
    }


def legend(names: list[str]) -> list[str]:
    lines, x, y = [], 18, 48
    for name in names:
        title = EDGES[name].title
        if x > 18 and x + 20 + 7 * len(title) > LEFT + WIDTH:
            x, y = 18, y + 18
        lines.append(f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{COLOURS[name]}"/><text x="{x + 10}" y="{y}">{escape(title)}</text>')
        x += 34 + 7 * len(title)
    return lines


def at(value: float) -> float:
    value = min(MOST, max(LEAST, value))
    return LEFT + WIDTH * (log10(value) - log10(LEAST)) / (log10(MOST) - log10(LEAST))
