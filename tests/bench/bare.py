"""What a packet costs on this machine's own kernel, at the speed of its own processor.

SELinux is hardly on here. So the table is the compiler's, with counters for its secmark objects:
every expression, lookup and reference to an object is what a guest's kernel has, and a counter's
evaluation is no cheaper than a label's. What SELinux itself does for each packet is not in it,
which makes the ratios worse than they are. The guest's nft is run by its own loader, since this
machine's may be too old.

Each variant has namespaces of its own, and they take turns of a millisecond in random order: what
else the machine does falls on all of them alike.
"""

import json
import os
import random
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from appfwd.core.keeping import number_at
from appfwd.core.nft import keep_commands, table_commands
from appfwd.core.table import Table
from appfwd.model.policy import LoadedPolicy, PortContext
from appfwd.model.services import Interval
from tests.core.compiled import Compiled
from tests.core.samples import baseline_policy
from tests.core.stories import state_of

from .counted import counting
from .inside.traffic import PORT, connections_a_second, in_netns, mebibyte_us, round_trip_us
from .packets import CONNTRACK, EMPTY, RULES, Figures, Samples, linear
from .unpacked import unpack, words_of

#: Turns of each variant; the quickest quarter of them counts.
ROUNDS, QUICKEST = 1000, 4
TRIPS, CONNECTIONS, MEBIBYTES = 150, 40, 4
OURS, THEIRS = "10.99.0.1", "10.99.0.2"
HOUR, DAY = 3600.0, 86400.0
CELLS = 10_000
NFT = "usr/sbin/nft"
TITLES = {
    "none": "no table",
    "conntrack": "connections tracked, no label",
    "maps_0": "our table with the baseline",
    f"maps_{CELLS}": f"the same and {CELLS:,} hosts",
    f"maps_{CELLS}_there": "  to one of them, in a guarded network",
    f"maps_{CELLS}_old": "  up for more than 105 days",
    f"maps_{CELLS}_each": "  every packet looked up",
    "linear_1000": "1,000 nft rules",
}


def measure() -> Samples:
    """Return what was measured in each turn: by variant, and then by kind."""
    samples: Samples = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        unpack(Path(folder), NFT)
        nft = words_of(Path(folder), NFT)
        stack.enter_context(_pinned())
        for variant, file in _written(Path(folder)).items():
            stack.enter_context(_namespaces(variant))
            form = ["-j"] if variant.startswith("maps") else []
            with in_netns(_near(variant)):
                subprocess.run([*nft, *form, "-f", file], check=True)
            samples[variant] = {"us": [], "conn_us": [], "mib_us": []}
        turns = [*samples]
        for _ in range(ROUNDS):
            random.shuffle(turns)
            for variant in turns:
                with in_netns(_near(variant)):
                    _turn(samples[variant], _far(variant))
    return samples


def _turn(kinds: dict[str, list[float]], far: str) -> None:
    kinds["us"].append(round_trip_us(THEIRS, far, TRIPS))
    kinds["conn_us"].append(1e6 / connections_a_second(THEIRS, far, CONNECTIONS))
    kinds["mib_us"].append(mebibyte_us(THEIRS, far, MEBIBYTES))


def figures(samples: Samples) -> Figures:
    """Return the mean of the quickest turns: what else the machine does only ever takes time."""
    return {
        variant: {kind: _quick(values) for kind, values in kinds.items()}
        for variant, kinds in samples.items()
    }


def _quick(values: Sequence[float]) -> float:
    return statistics.fmean(sorted(values)[: max(1, len(values) // QUICKEST)])


def report(values: Figures) -> None:
    """Print the table, with the ratios to connection tracking alone."""
    kinds = ("a round trip", "a connection", "a mebibyte")
    print(f"{'microseconds (beside tracking alone)':40}" + "".join(f"{kind:>18}" for kind in kinds))
    for variant, row in values.items():
        beside = values["conntrack"]
        cells = [f"{row[kind]:.1f} ({row[kind] / beside[kind]:.3f})" for kind in row]
        print(f"{TITLES[variant]:40}" + "".join(f"{cell:>18}" for cell in cells))


def _written(folder: Path) -> Mapping[str, Path]:
    """Write each variant to a file."""
    empty, cells, there = compiled(0), compiled(CELLS), compiled(CELLS, there=True)
    documents: dict[str, Any] = {
        "maps_0": made(empty, HOUR),
        f"maps_{CELLS}": made(cells, HOUR),
        f"maps_{CELLS}_there": made(there, HOUR),
        f"maps_{CELLS}_old": made(cells, 120 * DAY),
        f"maps_{CELLS}_each": table_commands(Table(), cells),
    }
    texts = {
        "none": EMPTY,
        "conntrack": CONNTRACK,
        "linear_1000": linear(_places(), "meta mark set 1"),
    }
    for name, commands in documents.items():
        rows = [{"flush": {"ruleset": None}}, *counting(commands)]
        texts[name] = json.dumps({"nftables": rows})
    files = {}
    for name in TITLES:
        files[name] = folder / name
        files[name].write_text(texts[name])
    return files


def made(table: Table, uptime: float) -> list[Mapping[str, Any]]:
    """Return the commands that make a table, and have flows keep labels, so long after boot."""
    return [*table_commands(Table(), table), *keep_commands(table, number_at(uptime))]


def compiled(cells: int, *, there: bool = False) -> Table:
    """Return the table of so many granted hosts, and of a baseline.

    A network is guarded; ``there``: the one that they are in, and the peer, who is one of them.
    """
    guards = ("10.0.0.0/8" if there else "10.8.0.0/16",) if cells else ()
    places = [f"{place}:443/tcp" for place in _places(cells)]
    peers = [f"{THEIRS}:{PORT}/{protocol}" for protocol in ("tcp", "udp")] if there else []
    grants = tuple(("a_t", place) for place in places + peers)
    state = state_of(*guards, grants=grants, baseline=True)
    return Compiled(state, _policy()).table


def _policy() -> LoadedPolicy:
    """Return a policy whose ports are as many as a distribution's."""
    types = "p_port_t", "q_port_t"
    ports = tuple(PortContext(6, Interval(n, n), types[n % 2]) for n in range(1, 9000, 31))
    return replace(baseline_policy(), ports=ports)


def _places(count: int = RULES) -> list[str]:
    return [f"10.{16 + n // 62_500}.{n // 250 % 250}.{1 + n % 250}" for n in range(count)]


def _near(variant: str) -> str:
    return f"appfwd-{variant}-near"


def _far(variant: str) -> str:
    return f"appfwd-{variant}-far"


@contextmanager
def _namespaces(variant: str) -> Iterator[None]:
    """Have two network namespaces that are joined by a pair of devices."""
    near, far = _near(variant), _far(variant)
    commands = f"""
    ip netns add {near}
    ip netns add {far}
    ip -n {near} link add peer type veth peer name peer netns {far}
    ip -n {near} addr add {OURS}/24 dev peer
    ip -n {far} addr add {THEIRS}/24 dev peer
    ip -n {near} link set peer up
    ip -n {far} link set peer up
    """
    try:
        subprocess.run(["sh", "-ec", commands], check=True)
        yield
    finally:
        for name in (near, far):
            subprocess.run(["ip", "netns", "del", name], check=False)


@contextmanager
def _pinned() -> Iterator[None]:
    """Stay on one processor."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
