"""The daemon's composition root: the only module that names concrete adapters."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appfwd import __version__
from appfwd.adapters.audit import audit_records
from appfwd.adapters.bootfiles import StateFolderBootFiles
from appfwd.adapters.clock import BootClock, uptime
from appfwd.adapters.names import KnownNames
from appfwd.adapters.netlink.announcements import policy_announcements, table_announcements
from appfwd.adapters.netlink.elements import MapElements
from appfwd.adapters.nft import LibNft
from appfwd.adapters.notes.blocks import BlockStore
from appfwd.adapters.notes.observations import ObservationStore
from appfwd.adapters.policyquery import Names, PolicyQuery
from appfwd.adapters.processes import ProcProcesses
from appfwd.adapters.selinuxfs import ProcHost, SelinuxFs
from appfwd.adapters.semodule import Semodule
from appfwd.adapters.sessions import LoginSessions, active_users, session_announcements
from appfwd.adapters.store import SqliteStore
from appfwd.adapters.systemd import notify, start_logging, watchdog
from appfwd.asking.agents import Agents
from appfwd.asking.asker import Asker, Outside
from appfwd.asking.blocks import BlockList
from appfwd.booting import NextBoot
from appfwd.bus.service import Service
from appfwd.core.module import BRIDGE_ATTRIBUTE, FENCED_ATTRIBUTE
from appfwd.core.work import Work
from appfwd.errors import AppfwdError
from appfwd.keeping import Keeper
from appfwd.kernel import Adapters, Kernel
from appfwd.listening.denials import Batch, Denials
from appfwd.listening.gatherer import Gatherer
from appfwd.listening.hearing import Hearing
from appfwd.listening.observer import Observer
from appfwd.manager import Inside, Manager, log_changes
from appfwd.model.state import Bridge, Trial, describe
from appfwd.ports import Stored
from appfwd.reconciler import Reconciler
from appfwd.watcher import Watcher

log = logging.getLogger(__name__)

#: When the collector of cycles runs (gc.set_threshold). A large state is a million objects in no
#: cycle, and looking at all of them again and again cost more than compiling it.
_GC = (5_000, 200, 100)

#: Denials that are kept of one domain.
_DENIED_OF_ONE = 1_000


@dataclass(frozen=True)
class _Parts:
    """What the daemon is made of, its state in one folder."""

    selinux: SelinuxFs
    nft: LibNft
    kernel: Kernel
    reconciler: Reconciler
    keeper: Keeper
    hearing: Hearing
    observer: Observer
    denials: Denials
    agents: Agents
    asker: Asker
    boot: NextBoot

    @classmethod
    def of(cls, state: Path) -> _Parts:
        selinux, nft = SelinuxFs(), LibNft()
        contexts = selinux.contexts()
        answer = state / "policy-answer.json"
        ours = (BRIDGE_ATTRIBUTE, FENCED_ATTRIBUTE)
        policy = PolicyQuery(Names(contexts.unlabeled, *ours, contexts.loader), cache=answer)
        modules = Semodule(state / "policy")
        files = StateFolderBootFiles(state / "boot")
        outside = (nft, MapElements(), modules, policy, selinux, ProcHost(), files)
        kernel = Kernel(Adapters(*outside))
        reconciler = Reconciler(kernel, SqliteStore(state / "state.db"), BootClock(LoginSessions()))
        keeper = Keeper(reconciler, kernel, uptime)
        boot = NextBoot(kernel, files)
        reconciler.before_change, reconciler.on_settled = boot.changing, boot.settled
        observer = Observer(ObservationStore(state / "observed.db"))
        history = Gatherer(ObservationStore(state / "denied.db", "denials", _DENIED_OF_ONE))
        denials = Denials(history, kernel.machine, lambda: reconciler.stored.state.settings)
        hearing = Hearing(observer.take, denials.take)
        agents, blocks = Agents(active_users), BlockList(BlockStore(state / "blocked.db"))
        asker = Asker(Outside(reconciler, kernel, denials, agents, blocks, KnownNames()))
        heard = (hearing, observer, denials)
        return cls(selinux, nft, kernel, reconciler, keeper, *heard, agents, asker, boot)

    def manager(self) -> Manager:
        heard = (self.hearing, self.observer, self.denials, self.asker)
        inside = Inside(self.reconciler, self.kernel, self.selinux, *heard, ProcProcesses())
        return Manager(inside)

    def tasks(self) -> list[asyncio.Task[None]]:
        """Start all that runs for as long as the daemon serves."""
        heard = (self.observer, self.denials, self.denials.history)
        runs = (self.reconciler, self.keeper, *heard, self.asker, self.boot)
        return [asyncio.create_task(one.run()) for one in runs]

    def listen(self) -> None:
        """Hear the kernel's records while there is something to hear of."""
        state = self.reconciler.stored.state
        settings = state.settings
        labels = not state.is_empty or settings.baseline or settings.bridge is not Bridge.OPEN
        self.hearing.listen(audit_records if settings.active and labels else None)

    async def store_what_waits(self) -> None:
        """Store what was heard and waits."""
        await self.observer.seen()
        await self.denials.history.seen()


async def serve(state: Path) -> None:
    """Bring the stored state into force, then serve requests until told to stop.

    The kernel's state stays when this returns: the firewall outlives its daemon. What is on trial
    does not.

    Raises:
        AppfwdError: without SELinux, a store or a bus there is nothing to serve.

    """
    parts = _Parts.of(state)
    reconciler = parts.reconciler
    keep_alive = asyncio.create_task(watchdog())  # ends at once where nobody watches
    # Before the bus: the network waits for us, and the bus may be late.
    notify("STATUS=Bringing the stored state into force")
    await reconciler.restore()
    parts.listen()
    tasks = parts.tasks()
    await parts.asker.restore()
    service = await Service.connect(parts.manager())
    watcher = _told(parts, service)
    policy_announcements(watcher.policy_changed)
    parts.nft.around_large = table_announcements(watcher.tables_changed).deaf
    session_announcements(parts.asker.sessions_changed)
    watcher.policy_changed()  # what happened since the state was restored was not announced to us
    tasks.append(asyncio.create_task(watcher.run()))
    notify("READY=1\n" + _status(reconciler))
    log.info("serving; %s", _status(reconciler))
    await _until_stopped(service, *tasks)
    notify("STOPPING=1")
    await reconciler.take_back_all()
    await parts.store_what_waits()
    async with reconciler.resting():  # what is begun is finished, and its caller told
        for task in tasks:
            task.cancel()
    await parts.boot.finish()
    keep_alive.cancel()
    await asyncio.gather(keep_alive, *tasks, return_exceptions=True)


def _told(parts: _Parts, service: Service) -> Watcher:
    """Have everybody told of what happens; return who hears of what others do."""
    reconciler = parts.reconciler

    async def changed(old: Stored, new: Stored) -> None:
        parts.listen()
        parts.asker.changed()
        came, went = new.beyond(old), old.beyond(new)
        await service.announce(came, went)
        await log_changes("added", came)
        await log_changes("removed", went)
        notify(_status(reconciler))

    def reverted(trials: Sequence[Trial]) -> None:
        for trial in trials:
            service.reverted(f"Taken back, since nobody confirmed it in time: {describe(trial)}.")

    def told() -> None:
        service.announce_properties()
        notify(_status(reconciler))

    def repaired(work: Work) -> None:
        service.repaired(work.row())

    reconciler.on_change, reconciler.on_reverted = changed, reverted
    parts.observer.on_new = service.observed
    parts.agents.voice = service

    def denied(batch: Batch) -> None:
        parts.asker.denied(batch)
        service.denied(batch)

    parts.denials.on_denied = denied
    return Watcher(reconciler, parts.kernel, told=told, repaired=repaired)


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


def _status(reconciler: Reconciler) -> str:
    state = reconciler.stored.state
    if reconciler.problem is not None:
        return f"STATUS=The stored state is not in force: {reconciler.problem}"
    if not state.settings.active:
        return "STATUS=Down: nothing is in force"
    counts = (f"{len(state.guards)} guards", f"{len(state.grants)} grants")
    return f"STATUS={', '.join(counts)}, {len(state.fences)} fences in force"


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
    gc.freeze()
    gc.set_threshold(*_GC)
    try:
        asyncio.run(serve(chosen.state))
    except AppfwdError as error:
        log.error("%s", error)
        notify(f"STATUS={error}")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
