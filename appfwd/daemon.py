"""The daemon's composition root: the only module that names concrete adapters."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from appfwd import __version__
from appfwd.adapters.netlink import policy_announcements, table_announcements
from appfwd.adapters.nft import LibNft
from appfwd.adapters.policyquery import PolicyQuery
from appfwd.adapters.selinuxfs import ProcHost, SelinuxFs
from appfwd.adapters.semodule import Semodule
from appfwd.adapters.store import SqliteStore
from appfwd.adapters.systemd import notify, start_logging, watchdog
from appfwd.bus.service import Service
from appfwd.core.module import BRIDGE_ATTRIBUTE
from appfwd.errors import AppfwdError
from appfwd.kernel import Adapters, Kernel
from appfwd.manager import Manager, entry_row
from appfwd.ports import Stored
from appfwd.reconciler import Reconciler
from appfwd.watcher import Watcher

log = logging.getLogger(__name__)


async def serve(state: Path) -> None:
    """Bring the stored state into force, then serve requests until told to stop.

    The kernel's state stays when this returns: the firewall outlives its daemon.

    Raises:
        AppfwdError: without SELinux, a store or a bus there is nothing to serve.

    """
    selinux = SelinuxFs()
    contexts = selinux.contexts()
    policy = PolicyQuery(
        contexts.unlabeled,
        BRIDGE_ATTRIBUTE,
        contexts.loader,
        cache=state / "policy-answer.json",
    )
    modules = Semodule(state / "policy")
    kernel = Kernel(Adapters(LibNft(), modules, policy, selinux, ProcHost()))
    reconciler = Reconciler(kernel, SqliteStore(state / "state.db"))
    keep_alive = asyncio.create_task(watchdog())
    # Before the bus: the network waits for us, and the bus may be late.
    notify("STATUS=Bringing the stored state into force")
    await reconciler.restore()
    writer = asyncio.create_task(reconciler.run())
    service = await Service.connect(Manager(reconciler, kernel, selinux))

    def announce(old: Stored, new: Stored) -> None:
        service.announce(old, new)
        _log_changes("added", new, old)
        _log_changes("removed", old, new)
        notify(_status(reconciler))

    def told() -> None:
        service.announce_properties()
        notify(_status(reconciler))

    reconciler.on_change = announce
    watcher = Watcher(reconciler, kernel, told=told)
    policy_announcements(watcher.policy_changed)
    table_announcements(watcher.tables_changed)
    watcher.policy_changed()  # what happened since the state was restored was not announced to us
    watching = asyncio.create_task(watcher.run())
    notify("READY=1\n" + _status(reconciler))
    log.info("serving; %s", _status(reconciler))
    await _until_stopped(service, writer, watching)
    notify("STOPPING=1")
    for task in (writer, keep_alive, watching):
        task.cancel()


async def _until_stopped(service: Service, *tasks: asyncio.Task[None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(service.wait()), *tasks]
    done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if waits[0] not in done:
        msg = "The bus was lost, or a part of the daemon ended; the kernel keeps its state."
        raise AppfwdError(msg)


#: Of journal records that tell of a change (journalctl MESSAGE_ID=...).
CHANGED = "9d1b2f6a6c5f4e0f8a1f7c1f0c8e4b52"


def _log_changes(what: str, one: Stored, other: Stored) -> None:
    """Write a structured record for each grant and guard that ``one`` has and ``other`` lacks."""
    for member, record in one.records.items():
        if member in other.records:
            continue
        row = entry_row(member, record, None)
        fields = ("id", "kind", "domain", "destination", "direction", "uid")
        extra = {f"APPFWD_{name.upper()}": str(row[name]) for name in fields}
        place = f"{row['direction']} {row['destination']}"
        text = f"{what}: {row['kind']} {record.id}: {row['domain'] or 'all'}, {place}"
        log.info(text, extra={"MESSAGE_ID": CHANGED, "APPFWD_CHANGE": what, **extra})


def _status(reconciler: Reconciler) -> str:
    state = reconciler.stored.state
    if reconciler.problem is not None:
        return f"STATUS=The stored state is not in force: {reconciler.problem}"
    if not state.settings.active:
        return "STATUS=Down: nothing is in force"
    return f"STATUS={len(state.guards)} guards, {len(state.grants)} grants in force"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon; exit status as of the error that ended it (see appfwd.errors)."""
    parser = argparse.ArgumentParser(prog="appfwd", description="The daemon of appfwd.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--verbose", action="store_true", help="log every detail")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path("/var/lib/appfwd"),
        help="folder of the desired state (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    start_logging(verbose=chosen.verbose)
    try:
        asyncio.run(serve(chosen.state))
    except AppfwdError as error:
        log.error("%s", error)
        notify(f"STATUS={error}")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
