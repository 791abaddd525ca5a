"""Snapshots: a guest's memory, devices and disk, from which any number of guests go on.

A snapshot is a directory of the cache with `disk.qcow2` (what differs from its parent's disk),
`memory` and `state`. Guests restored from it copy what they write, so it never changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .accelerator import choose_accelerator
from .cache import content_key, publish, touch_chain
from .errors import GuestDiedError
from .guest import BOOT_SECONDS, Guest
from .host import check_tools, command, say, step
from .image import Policy, image
from .machine import Machine, Start, make_overlay
from .rundir import RunDirectory

Prepare = Callable[[Guest], object]

# Emulated by two threads, a kernel now and then dies as it boots: it patches its own code (static
# keys) while the other processor runs it.
BOOTS = 3

# Run before the snapshot is taken, so that their files are in the guest's memory.
WARM_COMMANDS = [
    "nft list ruleset",
    "python3 -c 'import nftables, selinux, systemd.journal, dbus_next, pyroute2, sqlite3, asyncio'",
    "busctl introspect org.freedesktop.PolicyKit1 /org/freedesktop/PolicyKit1/Authority",
    "curl --version; conntrack -L; semodule -l; sesearch --version; getenforce",
]


@dataclass(frozen=True)
class Snapshot:
    """A saved guest."""

    path: Path
    machine: Machine
    image: Path

    @property
    def disk(self) -> Path:
        """The disk that restored guests are based on."""
        return self.path / "disk.qcow2"


def base_snapshot(policy: Policy = Policy.SMALL, *, processors: int = 1) -> Snapshot:
    """Return the snapshot of a freshly booted guest, made if it isn't cached.

    More than one processor is for tests of races: emulated, it is no faster.
    """
    check_tools()
    built = image(policy)
    machine = Machine(choose_accelerator(built), processors)
    key = content_key(built.name, machine.identity(), *_own_sources())

    def boot(draft: Path) -> None:
        disk = draft / "disk.qcow2"
        disk.unlink(missing_ok=True)
        make_overlay(disk, built / "root.img", "raw")
        memory = draft / "memory"
        start = Start(machine, built, disk, memory=memory, memory_shared=True)
        _save_after(start, draft, built, _warm_up)

    def make(draft: Path) -> None:
        with step(f"booting the {policy.value} guest, {machine.accelerator.value} x {processors}"):
            for left in reversed(range(BOOTS if processors > 1 else 1)):
                try:
                    boot(draft)
                    break
                except GuestDiedError as error:
                    if not left:
                        raise
                    say(f"it died, so once more: {error}")

    return Snapshot(publish("snapshot", key, make, parent=built), machine, built)


def derive(parent: Snapshot, key: str, prepare: Prepare) -> Snapshot:
    """Return the snapshot of a guest that was prepared, made if it isn't cached.

    `key` must differ whenever `prepare` would do something else: make it with `content_key`.
    The parent may be a derived one. What `prepare` raises is raised, and nothing is kept.
    """
    full_key = content_key(parent.path.name, key)

    def make(draft: Path) -> None:
        with step("preparing a guest"):
            disk = draft / "disk.qcow2"
            make_overlay(disk, parent.disk, "qcow2")
            memory = draft / "memory"
            command(["cp", "--sparse=always", "--reflink=auto", parent.path / "memory", memory])
            state = parent.path / "state"
            start = Start(
                parent.machine, parent.image, disk, memory, memory_shared=True, state=state
            )
            _save_after(start, draft, parent.path, prepare)

    path = publish("snapshot", full_key, make, parent=parent.path)
    return Snapshot(path, parent.machine, parent.image)


def restore(snapshot: Snapshot) -> Guest:
    """Return a guest that goes on from a snapshot; it takes about a second."""
    touch_chain(snapshot.path)
    run = RunDirectory(snapshot.path)
    disk = run.path / "disk.qcow2"
    make_overlay(disk, snapshot.disk, "qcow2")
    memory, state = snapshot.path / "memory", snapshot.path / "state"
    return Guest(Start(snapshot.machine, snapshot.image, disk, memory=memory, state=state), run)


def _save_after(start: Start, draft: Path, parent: Path, prepare: Prepare) -> None:
    with Guest(start, RunDirectory(parent)) as guest:
        prepare(guest)
        guest.save(draft / "state")


def _warm_up(guest: Guest) -> None:
    """Wait until all units are up, and read once what most tests will run."""
    guest.run(["systemctl", "is-system-running", "--wait"], timeout=BOOT_SECONDS)
    for command_line in WARM_COMMANDS:
        guest.run(command_line, timeout=BOOT_SECONDS, check=True)


def _own_sources() -> list[Path]:
    return [Path(__file__).with_name(name) for name in ("machine.py", "store.py")]
