"""The same changes outside the guest, at the machine's own speed.

The bus, polkit, the daemon's process, its store and its transactions are real: the daemon runs in
the guest's Python, over the guest's libnftables, in a network namespace of this machine's kernel.
SELinux is not on there, so counters stand in the place of labels, and what is read back is what was
asked for. So this is all that a change takes before it is in force, and an emulated processor
stretches most. dbus-next is at both ends.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.bus.daemon import NEXT, use
from tests.bus.running import Daemon, daemon
from tests.bus.world import ACCOUNTS, ROOT, World, world

from .latency import NETWORK, by_kind, counts, print_kinds
from .unpacked import PYTHON, unpack, words_of

ROUNDS = 200
DOMAIN, OTHER = "mozilla_t", "squid_t"
NFT = "tests.bench.counted:CountedNft"

Seconds = Mapping[str, Sequence[float]]


class GuestsDaemon(Daemon):
    """A daemon in the guest's Python, with a network namespace of its own."""

    def __init__(self, world: World, library: str, *, unpacked: Path) -> None:
        super().__init__(world, library)
        self._unpacked = unpacked

    def _command(self, folder: Path, faults: Sequence[tuple[str, str]] = ()) -> list[str]:
        python = words_of(self._unpacked, PYTHON[0])
        words = [self.binding, str(folder), str(self.boot_id), json.dumps(faults), NFT]
        return ["unshare", "-n", *python, "-m", "tests.bus.daemon", *words]

    def _environment(self) -> dict[str, str]:
        home = str(self._unpacked / "usr")
        return {**super()._environment(), "PYTHONHOME": home, "PYTHONPATH": str(ROOT)}


class Commits:
    """When transactions were done, by the daemon's own word."""

    def __init__(self, running: Daemon) -> None:
        self._daemon = running

    def last(self, begun: float, end: float) -> float:
        """Return when the last one within a time was done."""
        commits: list[float] = self._daemon.tell("commits")
        return max(at for at in commits if begun < at <= end)


def measure() -> dict[int, tuple[Seconds, Seconds]]:
    """Return the seconds to each reply, and until it was in force, by grants held."""
    use(NEXT)
    with tempfile.TemporaryDirectory() as folder:
        unpack(Path(folder), *PYTHON)
        return {held: _sample(held, Path(folder)) for held in counts()}


def _sample(held: int, unpacked: Path) -> tuple[Seconds, Seconds]:
    with world() as bus, daemon(bus, NEXT, partial(GuestsDaemon, unpacked=unpacked)) as running:
        grants = [(DOMAIN, f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:443/tcp") for n in range(held)]
        # Both domains are known, and held or not the maps are there.
        known = [(DOMAIN, "10.253.0.1:443/tcp"), (OTHER, "10.253.0.2:443/tcp")]
        running.tell("fill", guards=[NETWORK], grants=[*known, *grants])
        with patch.dict(os.environ, bus.environment):
            return asyncio.run(_roots_and_users(Commits(running)))


async def _roots_and_users(commits: Commits) -> tuple[Seconds, Seconds]:
    """Have root change what there is, and then users about whom polkit is asked."""
    from appfwd.bus.client import Client  # noqa: PLC0415 - after the choice of library

    from .inside.calls import pairs, rounds  # noqa: PLC0415 - after the choice of library

    took, in_force = await rounds(await Client.connect(), OTHER, ROUNDS, commits)
    users = []
    for name in ("only-grant", "only-revoke"):
        with _user(ACCOUNTS[name]):
            users.append(await Client.connect())
    places = [f"10.254.{n >> 8}.{n & 255}:443/tcp" for n in range(ROUNDS)]
    theirs = await pairs(users[0], users[1], OTHER, places, commits)
    return {**took, **theirs[0]}, {**in_force, **theirs[1]}


@contextmanager
def _user(uid: int) -> Iterator[None]:
    """Be another user, whom the bus then takes for the one that connects."""
    os.setresuid(uid, uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def figures(samples: Mapping[int, tuple[Seconds, Seconds]]) -> dict[str, Any]:
    """Return milliseconds by kind and count."""
    return {
        "reply_ms": by_kind({str(held): replied for held, (replied, _) in samples.items()}),
        "in_force_ms": by_kind({str(held): force for held, (_, force) in samples.items()}),
    }


def report(values: Mapping[str, Any]) -> None:
    """Print the table."""
    grants = values["in_force_ms"]["grant"]
    title = f"milliseconds, median (99th of {ROUNDS}); grants held:"
    print(f"{title:50}" + "".join(f"{held:>16}" for held in grants))
    print_kinds(values["in_force_ms"], "{} in force")
    print_kinds(values["reply_ms"], "{}'s reply")
    for held, row in grants.items():
        times = row["p50"] / values["reply_ms"]["read"][held]["p50"]
        print(f"with {held} held a grant is in force after {times:.1f} times a property's reading")
