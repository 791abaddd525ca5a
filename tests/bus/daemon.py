"""The real daemon over stand-ins for the kernel.

``python -m tests.bus.daemon LIBRARY FOLDER BOOT-ID FAULTS [NFT]`` runs it; NFT is the stand-in for
nftables, as module:class.

Commands come as JSON lines on standard input, answers go to standard output; see
:class:`tests.bus.running.Daemon` for what they mean.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

FAST, NEXT = "dbus-fast", "dbus-next"


def use(library: str) -> None:
    """Have appfwd find one D-Bus library only. Before anything of it is imported."""
    if library == NEXT:
        sys.modules["dbus_fast"] = None  # type: ignore[assignment]


def _member(member: Any, uid: int) -> list[object]:
    """Return a grant or guard by domain, direction and place; a fence by domain and options."""
    place = getattr(member, "destination", None)
    if place is None:
        return [member.domain, "fence", f"{member.loopback:d}{member.dns:d}", uid]
    return [getattr(member, "domain", ""), place.direction.value, str(place), uid]


class Control:
    """Answers the test's commands from within the daemon."""

    def __init__(self, faults: Any, nft: Any, policy: Any) -> None:
        self.faults, self.nft, self.policy = faults, nft, policy
        self.reconciler: Any = None
        self.observer: Any = None
        self.denials: Any = None
        self.asker: Any = None
        #: Users whose session is the active one of a seat, and who is told of a change.
        self.active: frozenset[int] = frozenset()
        self.sessions_changed: Callable[[], None] = lambda: None
        #: What runs on the machine.
        self.processes: Any = None
        #: Tells the watcher that others changed the policy, as the kernel's announcement does.
        self.policy_changed: Callable[[], None] = lambda: None
        #: Takes the texts of records while something listens.
        self.opened: frozenset[Any] = frozenset()
        self.heard: Callable[[Sequence[str]], None] | None = None

    def policy_announcements(self, changed: Callable[[], None]) -> Any:
        """Hear of the kernel's policy loads, and have them told by the test too."""
        from appfwd.adapters.netlink import announcements  # noqa: PLC0415 - after the choice of library

        self.policy_changed = changed
        return announcements.policy_announcements(changed)

    def ears(self, heard: Callable[[Sequence[str]], None], _lost: Callable[[], None]) -> Control:
        """Listen, in the place of the kernel's audit system."""
        self.heard = heard
        return self

    def close(self) -> None:
        """Listen no more."""
        self.heard = None

    async def serve(self) -> None:
        """Answer commands until standard input ends."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 24)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            command = json.loads(line)
            try:
                answer = [await getattr(self, "do_" + command.pop("do"))(**command), None]
            except Exception as error:  # noqa: BLE001 - the test is told, and fails
                answer = [None, repr(error)]
            print(json.dumps(answer), flush=True)

    async def do_library(self) -> str:
        from appfwd.bus.lib import LIBRARY  # noqa: PLC0415 - the choice is made by then

        return LIBRARY

    async def do_fail(self, at: str, error: str, text: str, times: int) -> None:
        from tests.bus.fakes import error_of  # noqa: PLC0415 - as above

        self.faults.errors[at] += [error_of(error, text) for _ in range(times)]

    async def do_hold(self, at: str) -> None:
        self.faults.gates[at] = asyncio.Event()

    async def do_release(self, at: str) -> None:
        self.faults.gates.pop(at).set()

    async def do_reached(self) -> Mapping[str, int]:
        return dict(self.faults.reached)

    async def do_commits(self) -> list[float]:
        """Return when the transactions were done that nobody asked about before."""
        commits, self.nft.commits = self.nft.commits, []
        return list(commits)

    async def do_clear(self) -> None:
        """Forget what was reached."""
        self.faults.reached.clear()

    def sessions(self) -> frozenset[Any]:
        """Return the login sessions that are open."""
        return self.opened

    async def do_sessions(self, opened: list[tuple[str, int]]) -> None:
        """Have these login sessions open, and no others."""
        from appfwd.model.ends import Session  # noqa: PLC0415 - as above

        self.opened = frozenset(Session(name, at) for name, at in opened)

    def follow_sessions(self, changed: Callable[[], None]) -> None:
        """Announce changes of the active session, in the place of logind."""
        self.sessions_changed = changed

    async def do_active(self, users: list[int]) -> None:
        """Have these users be at the machine."""
        self.active = frozenset(users)
        self.sessions_changed()

    async def do_queued(self) -> int:
        return int(self.reconciler._queue.qsize())

    async def do_enforcing(self, *, value: bool | None) -> None:
        self.policy.enforced = value

    async def do_domains(self, names: list[str]) -> None:
        self.policy.change(names)

    async def do_repolicy(self, domains: list[str], *, baseline: bool) -> None:
        """Change the policy, and have the kernel announce it."""
        self.policy.change(domains, baseline=baseline)
        self.policy_changed()

    async def do_record(self, texts: list[str]) -> bool:
        """Have the kernel write records; tell whether anybody listened."""
        if self.heard is None:
            return False
        self.heard(texts)
        return True

    async def do_answering(self) -> bool:
        """Tell whether a question is being answered."""
        return any(one.answering for one in self.asker._questions.all())

    async def do_agents(self) -> list[int]:
        """Return the users of the registered agents."""
        return [agent.uid for agent in self.asker._o.agents._agents.values()]

    async def do_refuse(self, texts: list[str]) -> bool:
        """Have the kernel write records, and wait until they were worked on."""
        if self.heard is None:
            return False
        worked, told = asyncio.Event(), self.denials.on_denied

        def denied(batch: Any) -> None:
            told(batch)
            worked.set()

        self.denials.on_denied = denied
        self.heard(texts)
        await worked.wait()
        self.denials.on_denied = told
        return True

    async def do_crowd(self, domains: int, connections: int, programs: int) -> None:
        """Have many domains run."""
        self.processes.crowd(domains, connections, programs)

    async def do_state(self) -> Mapping[str, Any]:
        """Return all that a refused request must not change."""
        from appfwd.core.keeping import KEPT  # noqa: PLC0415

        stored = self.reconciler.stored
        settings = stored.state.settings
        # That flows keep their labels comes by itself, once the table has rest.
        rows = await self.nft.list_table()
        table = [row for row in rows if row.get("rule", {}).get("chain") not in KEPT]
        return {
            "members": sorted(_member(m, r.uid) for m, r in stored.records.items()),
            "settings": [settings.bridge.value, settings.active],
            "strict": settings.strict,
            "baseline": settings.baseline,
            "trials": len(stored.state.trials),
            "observed": [
                [seen.observation.domain, str(seen.observation.destination), seen.count]
                for seen in await self.observer.seen()
            ],
            "denied": [
                [seen.observation.domain, str(seen.observation.destination), seen.count]
                for seen in await self.denials.history.seen()
            ],
            "pending": [one.id for one in self.asker.pending()],
            "blocked": [
                [one.block.domain, str(one.block.destination)] for one in self.asker.blocked()
            ],
            "table": _in_order(table),
            "module": self.policy.text,
        }

    async def do_reset(self) -> None:
        """Go back to the state after the first start."""
        from appfwd.core.questions import Questions  # noqa: PLC0415 - as above
        from appfwd.model.state import DesiredState, Settings  # noqa: PLC0415
        from tests.bus.fakes import BASE  # noqa: PLC0415
        from tests.bus.running_domains import RUNNING  # noqa: PLC0415

        self.processes.rows = RUNNING
        self.faults.clear()
        self.policy.base, self.policy.enforced = BASE, True
        self.policy.loads += 1
        for active in (False, True):  # nothing is left in the kernel in between
            empty = DesiredState(settings=Settings(active=active))
            await self.reconciler.submit(lambda _state, empty=empty: empty, 0)
        await self.observer.forget()
        await self.denials.history.forget()
        self.asker._questions = Questions()
        for one in self.asker.blocked():
            await self.asker.unblock(one.block)
        self.faults.clear()

    async def do_fill(self, guards: list[str], grants: list[tuple[str, str]]) -> None:
        """Take a whole state in one batch."""
        from appfwd.model.destination import parse_destination  # noqa: PLC0415 - as above
        from appfwd.model.state import DesiredState, Grant, Guard  # noqa: PLC0415

        state = DesiredState(
            frozenset(Guard(parse_destination(text)) for text in guards),
            frozenset(Grant(domain, parse_destination(text)) for domain, text in grants),
        )
        await self.reconciler.submit(lambda _state: state, 0)
        self.faults.reached.clear()


def _in_order(listing: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return a listing in a fixed order, but for rules, whose order in their chain means much."""

    def order(listed: Mapping[str, Any]) -> tuple[str, str]:
        ((kind, value),) = listed.items()
        return kind, value["chain"] if kind == "rule" else value["name"]

    for listed in listing:
        for value in listed.values():
            if "elem" in value:
                value["elem"].sort(key=json.dumps)
    return sorted(listing, key=order)


def _known(kind: Any, control: Control, name: str) -> Callable[..., Any]:
    """Return what makes the real thing and has the control know it by ``name``."""

    def make(*arguments: Any) -> Any:
        made = kind(*arguments)
        setattr(control, name, made)
        return made

    return make


def _run(folder: str, boot_id: str, faults_at_start: list[tuple[str, str]], nft: str) -> int:
    import appfwd.daemon  # noqa: PLC0415 - after the choice of library
    from appfwd import reconciler  # noqa: PLC0415
    from appfwd.adapters.clock import BootClock  # noqa: PLC0415
    from appfwd.asking import asker  # noqa: PLC0415
    from appfwd.listening import denials, observer  # noqa: PLC0415
    from tests.bus import fakes, running_domains  # noqa: PLC0415

    faults = fakes.Faults()
    for place, error in faults_at_start:
        faults.errors[place].append(fakes.error_of(error, "It failed."))
    policy = fakes.FakePolicy(faults)
    control = Control(faults, resolve_name(nft)(faults), policy)
    fakes.CountingStore.faults = faults
    serve = appfwd.daemon.serve

    async def controlled(state: Path) -> None:
        commands = asyncio.create_task(control.serve())
        try:
            await serve(state)
        finally:
            commands.cancel()

    with patch.multiple(
        appfwd.daemon,
        SelinuxFs=lambda: policy,
        PolicyQuery=lambda *_, **__: policy,
        Semodule=lambda *_, **__: policy,
        LibNft=lambda: control.nft,
        MapElements=lambda: control.nft,
        ProcHost=fakes.FakeHost,
        ProcProcesses=_known(running_domains.FakeProcesses, control, "processes"),
        SqliteStore=fakes.CountingStore,
        Reconciler=_known(reconciler.Reconciler, control, "reconciler"),
        Observer=_known(observer.Observer, control, "observer"),
        Denials=_known(denials.Denials, control, "denials"),
        Asker=_known(asker.Asker, control, "asker"),
        active_users=lambda: control.active,
        session_announcements=control.follow_sessions,
        audit_records=control.ears,
        policy_announcements=control.policy_announcements,
        BootClock=lambda sessions: BootClock(sessions, Path(boot_id)),
        LoginSessions=lambda: control.sessions,
        serve=controlled,
    ):
        return appfwd.daemon.main(["--state", folder])


def main() -> int:
    """Run until told to stop; return the daemon's exit status."""
    library, folder, boot_id, faults, nft = [*sys.argv[1:], "tests.bus.fakes:FakeNft"][:5]
    use(library)
    return _run(folder, boot_id, json.loads(faults), nft)


if __name__ == "__main__":
    sys.exit(main())
