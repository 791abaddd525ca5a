"""Measures in guests: prints tables and ratios, writes build/bench.json and the plot of docs/.

A word measures one kind alone; build/bench.json keeps what it has of the others.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.guest.firewall import ROOT
from tests.guest.lab.store import base_snapshot

from . import bare, changes, ends, latency, layouts, live, native, packets, plot, prompts, rest
from .samples import merged

Kind = Callable[[], Mapping[str, Any]]
FIGURES, PLOT = ROOT / "build" / "bench.json", ROOT / "docs" / "bench.svg"


def main() -> int:
    """Measure what is asked for, or everything."""
    kinds = sys.argv[1:] or [*KINDS]
    if unknown := set(kinds) - KINDS.keys():
        print(f"no such kind: {', '.join(unknown)}; there are: {', '.join(KINDS)}", file=sys.stderr)
        return 2
    machine = base_snapshot().machine
    how = f"a guest, {machine.accelerator.value}, {machine.processors} processor"
    for kind in kinds:
        title, measured = KINDS[kind]
        where = "no guest" if kind in ("native", "bare") else how
        print(f"\n== {kind}: {title} ({where})", flush=True)
        begun = time.monotonic()
        write({**measured(), "guest": how})
        print(f"   measured in {time.monotonic() - begun:.0f} s", flush=True)
    values = json.loads(FIGURES.read_text())
    if plot.has_all(values):
        PLOT.write_text(plot.latency_plot(values))
        print(f"\nwritten: {FIGURES}, {PLOT}")
    return 0


def write(found: Mapping[str, Any]) -> None:
    """Put figures into build/bench.json; those of other kinds, and sizes, that are there stay."""
    FIGURES.parent.mkdir(exist_ok=True)
    before = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(merged(before, found), indent=2) + "\n")


def _of(kind: Any, key: str = "") -> Kind:
    """Return what measures a kind, prints its table, and returns its figures, below a key."""

    def measured() -> Mapping[str, Any]:
        values = kind.figures(kind.measure())
        kind.report(values)
        return {key: values} if key else values

    return measured


KINDS: Mapping[str, tuple[str, Kind]] = {
    "changes": (
        "one change, beside the same by others; a command each, or one connection",
        _of(changes),
    ),
    "latency": (
        "one change over one connection, with grants held; and to have them back",
        _of(latency),
    ),
    "native": (
        "the same changes on this machine itself, whose kernel has no SELinux on",
        _of(native, "native"),
    ),
    "live": (
        "from a revoke's call to the last datagram of a flow that is sent meanwhile",
        _of(live),
    ),
    "rest": (
        "the daemon's start, memory, and switches of all its threads at rest",
        _of(rest, "daemon"),
    ),
    "packets": (
        "what a packet costs: iperf3, connections, round trips of datagrams",
        _of(packets, "packet"),
    ),
    "bare": (
        "the same on this machine's own kernel, without what SELinux does itself",
        _of(bare, "bare"),
    ),
    "layouts": (
        "what ways to lay out a map cost, by libnftables in one process",
        _of(layouts, "layouts"),
    ),
    "ends": (
        "how late a grant ends: from its time to the last packet that passed",
        _of(ends, "ends"),
    ),
    "prompts": (
        "from the kernel's record of a denial to the notification",
        _of(prompts, "prompts"),
    ),
}

if __name__ == "__main__":
    sys.exit(main())
