"""The plot for docs/: what a change takes by the grants held, beside others; an SVG as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 800, 430
LEFT, RIGHT, TOP, BOTTOM = 80, 220, 50, 60
COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8f5db7", "#7a5c00", "#555555")
LINES = {
    "grant, median": ("grant", "p50"),
    "revoke, median": ("revoke", "p50"),
    "guard, median": ("guard", "p50"),
    "grant, 99th of 100": ("grant", "p99"),
}
OTHERS = {
    "recipe_ms": "the recipe (semodule)",
    "firewalld_ms": "firewalld, rich rule",
    "nft_ms": "nft add element",
    "libnftables_ms": "libnftables, one process",
}

Point = tuple[int, float]


def has_all(values: Mapping[str, Any]) -> bool:
    """Tell whether the figures have all that is drawn."""
    return "latency_ms" in values and OTHERS.keys() <= values.keys()


def latency_plot(values: Mapping[str, Any]) -> str:
    """Return the plot of the figures of build/bench.json."""
    latency = values["latency_ms"]
    held = sorted(map(int, latency["grant"]))
    lines = {
        title: [(n, latency[kind][str(n)][which]) for n in held]
        for title, (kind, which) in LINES.items()
    }
    flat = {title: values[key]["p50"] for key, title in OTHERS.items()}
    return plot("one change, from call to reply (in an emulated guest)", lines, flat)


def plot(title: str, lines: Mapping[str, Sequence[Point]], flat: Mapping[str, float]) -> str:
    """Return lines over counts, and levels that do not depend on them, by milliseconds (log)."""
    counts = [count for count, _ in next(iter(lines.values()))]
    values = [y for points in lines.values() for _, y in points] + [*flat.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    area = Area(counts, low, max(high, low + 1))
    parts = [*_frame(title, area)]
    ends: list[tuple[float, str, str]] = []
    for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
        path = " ".join(f"{area.x(count):.1f},{area.y(y):.1f}" for count, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{area.x(count):.1f}" cy="{area.y(y):.1f}" r="3.5" fill="{colour}"/>'
            for count, y in points
        ]
        ends.append((area.y(points[-1][1]), name, colour))
    for name, level in flat.items():
        y = area.y(level)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="#777" stroke-dasharray="6 4"/>'
        )
        ends.append((y, f"{name}: {level:,.{0 if level >= 10 else 1}f} ms", "#555"))
    parts += _names(ends)
    return "\n".join([*parts, "</svg>"]) + "\n"


class Area:
    """Where counts and milliseconds are on the picture; counts have the same distance."""

    def __init__(self, counts: Sequence[int], low: int, high: int) -> None:
        self.counts, self.low, self.high = counts, low, high

    def x(self, count: int) -> float:
        """Return where a count is."""
        step = (WIDTH - LEFT - RIGHT) / max(1, len(self.counts) - 1)
        return LEFT + step * self.counts.index(count)

    def y(self, value: float) -> float:
        """Return where milliseconds are."""
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _frame(title: str, area: Area) -> list[str]:
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="28" font-size="15">{title}</text>',
    ]
    for power in range(area.low, area.high + 1):
        y = area.y(10.0**power)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
        )
        label = f"{10.0**power:,g} ms"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for count in area.counts:
        where = f'x="{area.x(count):.1f}" y="{HEIGHT - BOTTOM + 22}"'
        parts.append(f'<text {where} text-anchor="middle">{count:,}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    where = f'x="{middle:.1f}" y="{HEIGHT - 14}"'
    return [*parts, f'<text {where} text-anchor="middle">grants held</text>']


def _names(ends: Sequence[tuple[float, str, str]]) -> list[str]:
    """Return the names at the right of what they name, one below the other."""
    parts, free = [], 0.0
    for y, name, colour in sorted(ends):
        free = max(y + 4, free)
        parts.append(f'<text x="{WIDTH - RIGHT + 10}" y="{free:.1f}" fill="{colour}">{name}</text>')
        free += 15
    return parts
