"""Brings the kernel to a desired state: compile, plan, apply, read back, verify."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from appfwd.core.compiler import Artefacts
from appfwd.core.effects import unfenced
from appfwd.core.foresight import Foresight, foresee
from appfwd.core.machine import Machine
from appfwd.core.module import Module, loaded_module, module_text
from appfwd.core.nft import adopt_commands, keep_commands
from appfwd.core.plan import (
    ApplyTable,
    Fencing,
    LoadModule,
    RemoveModule,
    SetBooleans,
    Snapshot,
    Step,
    table_alone,
)
from appfwd.core.pool import assigned
from appfwd.core.rivals import Rival, rivals
from appfwd.core.stages import stages
from appfwd.core.table import Table
from appfwd.core.verify import verify, verify_module
from appfwd.core.work import Work, work_of
from appfwd.errors import StoreFailed, VerifyFailed
from appfwd.kernel.access import AccessCheck
from appfwd.kernel.compiling import compile_supported
from appfwd.kernel.machines import Machines
from appfwd.kernel.planning import Goal, Planning
from appfwd.kernel.readback import ReadBack, snapshot_of
from appfwd.model.changes import Change
from appfwd.model.policy import LoadedPolicy, PacketRule
from appfwd.model.slots import parse_switch
from appfwd.model.state import DesiredState, Grant
from appfwd.ports import BootFiles, Elements, Host, ModuleStore, Nft, PolicyReader, Selinux
from appfwd.stopwatch import Stopwatch
from appfwd.turns import Aside

log = logging.getLogger(__name__)

#: Times that compiling, planning and applying are tried until nothing is left to do. A second one
#: is needed where a load shows what it had hidden: libsepol drops rules that the bridge covers, so
#: who may use unlabelled packets is only seen once the bridge is closed.
_ROUNDS = 4


class Overtaken(Exception):
    """The table was closed while a policy was loaded; what remains to do must be planned anew."""


@dataclass(frozen=True)
class Adapters:
    """The outside, as the kernel's side needs it."""

    nft: Nft
    elements: Elements
    modules: ModuleStore
    policy: PolicyReader
    selinux: Selinux
    host: Host
    boot: BootFiles


class Kernel:
    """The kernel's state behind two verbs: make it so, and read it.

    What may take long of a large state is done beside the event loop, which must go on meanwhile.
    """

    def __init__(self, adapters: Adapters) -> None:
        self._a = adapters
        self._access = AccessCheck(adapters.selinux)
        #: What was found right last, while nothing was written since.
        self._settled: tuple[Machine, Snapshot] | None = None
        self._machines = Machines(adapters.policy, adapters.selinux, adapters.host)
        self._loads_seen = -1
        #: The module that :meth:`make` is loading.
        self._loading: Module | None = None
        #: The state that the table is of, on the way of :meth:`make`; None where that is not known.
        self.table_of: DesiredState | None = None
        self._overtaken = False
        self._closing = asyncio.Lock()
        # Not the one of questions, which anybody may ask.
        self._aside = Aside("kernel")
        self._planning = Planning(self._aside)
        self._back = ReadBack(adapters.nft, adapters.elements, self._aside)
        #: What :meth:`make` found and left last; None where it did nothing, or failed.
        self._did: tuple[Snapshot, Snapshot] | None = None
        self.rivals: tuple[Rival, ...] = ()
        #: Set after whatever leaves a table as it should be in which flows keep no label.
        self.at_rest = asyncio.Event()
        #: Of the change under way, or of the last one.
        self.stopwatch = Stopwatch()

    async def policy(self) -> LoadedPolicy:
        """Return what the loaded policy says, asked anew after every policy load."""
        return await self._machines.policy()

    async def machine(self) -> Machine:
        """Return what the compiler must know."""
        return await self._machines.machine()

    async def rules(self, domain: str) -> Sequence[PacketRule]:
        """Return the packet rules of the loaded policy that concern a domain."""
        return await self._a.policy.rules(domain)

    async def listing(self) -> Sequence[Mapping[str, Any]]:
        """Return the listing of our table, counters and all."""
        return await self._a.nft.list_table()

    async def snapshot(self, machine: Machine) -> Snapshot:
        """Read back what of ours the kernel has."""
        return await asyncio.to_thread(snapshot_of, await self.listing(), machine)

    def settled(self) -> bool:
        """Tell whether the policy and its booleans are those that :meth:`make` saw last.

        Where it failed with them it would fail again, so that is no reason to try.
        """
        return self._loads_seen == self._a.selinux.policy_load()

    def verified(self) -> tuple[Machine, Snapshot] | None:
        """Return what was found right last; None where something was written since."""
        return self._settled

    async def look_for_rivals(self) -> None:
        """Read all of nftables for other tables that label packets; see :attr:`rivals`.

        Raises:
            TableFailed: the kernel did not answer.

        """
        self.rivals = rivals(await self._a.nft.list_ruleset())

    async def make(
        self,
        state: DesiredState,
        before: DesiredState | None = None,
        ready: Collection[Grant] = (),
    ) -> bool:
        """Bring the kernel to ``state``; return whether anything had to be done.

        ``before`` is the state that it is in, where that is known. The types that the grants
        ``ready`` would need are loaded with it, so that one of them takes no policy load later.

        Raises:
            AppfwdError: of any adapter, or what verifying found; the kernel may then be between
                the two states, where nothing is allowed that neither of them allows.
            Overtaken: :meth:`close` changed the table meanwhile; the way goes on from the state
                :attr:`table_of`.

        """
        self._did = None
        self.table_of, self._overtaken = before, False
        worked = [await self._make(*stage, ready) for stage in stages(before, state)]
        return any(worked)

    async def close(self, ended: Change) -> bool:
        """Bring the table to what ``ended``, which takes grants away, makes of the present state.

        It is for while :meth:`make` loads a policy, which takes seconds, and is done where the
        table alone has to change; make ends with Overtaken then. Tell whether it was done.

        Raises:
            AppfwdError: of any adapter; the table is as it was.

        """
        async with self._closing:
            if self._loading is None or self.table_of is None:
                return False
            state = ended(self.table_of)
            machine = await self.machine()
            wanted = await self._aside.run(compile_supported, state, machine)
            snapshot = await self._aside.run(snapshot_of, await self.listing(), machine)
            wanted = assigned(wanted, snapshot, machine.contexts, anew=False)
            step = table_alone(snapshot, wanted, self._loading)
            if step is None:
                return False
            self.table_of, self._overtaken = state, True
            await self._run(step, snapshot.table)
        return True

    async def foresee(self, before: DesiredState, after: DesiredState) -> Foresight:
        """Return what :meth:`make` would do to bring the kernel to ``after``; nothing is done.

        Raises:
            AppfwdError: what asks the kernel fails, or its policy has not what is needed.

        """
        machine = await self.machine()
        snapshot = await self.snapshot(machine)
        gone = [fence for fence in before.fences if after.fence_of(fence.domain) is None]

        def compiled(state: DesiredState, at: Snapshot) -> Artefacts:
            going = (f for f in gone if f.domain not in at.module.fenced)
            return self._planning.foreseen(state, at, unfenced(machine, going))

        unlabeled = machine.contexts.unlabeled
        return await asyncio.to_thread(foresee, snapshot, before, after, compiled, unlabeled)

    async def _make(
        self, state: DesiredState, change: Fencing, ready: Collection[Grant] = ()
    ) -> bool:
        first: Snapshot | None = None
        worked = False
        for _ in range(_ROUNDS):
            with self.stopwatch.stage("policy"):
                machine = await self._machine_to_make_for()
            # The table has an owner, so what was found right is right until we write. Were it not,
            # the transaction would fail and all be read anew, or what is read back would differ.
            remembered = None if first or self.table_of is None else self._remembered(machine)
            snapshot = remembered or await self._read(machine)
            first = first or snapshot
            goal = Goal(state, machine, ready, change)
            wanted, steps = await self._planning.steps(
                snapshot, goal, self.stopwatch, remembered=remembered is not None
            )
            if not steps:
                break
            await self._take(steps, wanted, state, snapshot.table)
            worked = True
            with self.stopwatch.stage("read"):
                there = remembered and await self._back.is_there(steps, wanted.table)
            if remembered and there:
                snapshot = replace(remembered, table=wanted.table, table_exists=True, orphan=False)
                if len(steps) > 1:
                    machine = await self.machine()
                    module = loaded_module(machine.policy, machine.contexts)
                    snapshot = replace(snapshot, module=module)
                break
        await self._verify(machine, wanted, snapshot)
        if worked and first is not None:
            self._did = (first, snapshot)
        return worked

    async def keep(self, number: int) -> bool:
        """Have flows keep their labels until the table changes; return whether they do from now on.

        Nobody else may write to the kernel meanwhile. ``number`` is that of the epoch that begins,
        see appfwd.core.keeping.

        Raises:
            TableFailed: the kernel refused; flows keep nothing.
            VerifyFailed: it reads back otherwise than it was written; flows keep nothing.

        """
        machine, snapshot = self._settled or (None, None)
        table = snapshot.table if snapshot else None
        if not (machine and snapshot and table and table.keeps) or table.keeping:
            return False
        kept = replace(table, keeping=number)
        try:
            await self._a.nft.run(keep_commands(table, number))
            there = await self._back.has_shape(kept)
            if not there:
                await self._a.nft.run(keep_commands(table, 0))
        except BaseException:
            self._settled = None
            raise
        self._settled = (machine, replace(snapshot, table=kept)) if there else None
        if not there:
            msg = "The rules by which flows keep their labels read back otherwise than written."
            raise VerifyFailed(msg)
        return True

    async def work(self) -> Work | None:
        """Return what :meth:`make` did last; None where it did nothing, or failed."""
        return await self._aside.run(work_of, *self._did) if self._did else None

    def _remembered(self, machine: Machine) -> Snapshot | None:
        if self._settled is None or self._settled[0] != machine:
            return None
        if self._settled[0].policy.switches != machine.policy.switches:
            return None
        return self._settled[1]

    async def _read(self, machine: Machine) -> Snapshot:
        with self.stopwatch.stage("list"):
            listing = await self.listing()
        with self.stopwatch.stage("decode"):
            return await self._aside.run(snapshot_of, listing, machine)

    async def _take(
        self, steps: Sequence[Step], wanted: Artefacts, state: DesiredState, table: Table | None
    ) -> None:
        for step in steps:
            match step:
                case ApplyTable():
                    with self.stopwatch.stage("nft"):
                        await self._run(step, table)
                    self.table_of = state
                case SetBooleans(values):
                    with self.stopwatch.stage("booleans"):
                        await self._switch(values)
                case _:
                    log.info("applying: %s", type(step).__name__)
                    with self.stopwatch.stage("load"):
                        await self._apply(step, wanted)

    async def _verify(self, machine: Machine, wanted: Artefacts, snapshot: Snapshot) -> None:
        await self._aside.run(self._hold, machine, wanted, snapshot)
        if wanted.module.strict and not self._a.selinux.always_checks():
            msg = "The kernel does not check packets without labels, though policy asks it to."
            raise VerifyFailed(msg)
        if snapshot.table:  # one of the two will do, the one that the next is compiled from
            table = replace(wanted.table, keeping=snapshot.table.keeping)
            snapshot = replace(snapshot, table=table)
        self._settled = (machine, snapshot)
        if snapshot.table and snapshot.table.keeps and not snapshot.table.keeping:
            self.at_rest.set()

    def _hold(self, machine: Machine, wanted: Artefacts, snapshot: Snapshot) -> None:
        with self.stopwatch.stage("verify"):
            try:
                verify(snapshot, wanted)
            except VerifyFailed:
                log.debug("read back: %s; wanted: %s", snapshot.table, wanted.table)
                raise
        with self.stopwatch.stage("access"):
            ready = replace(wanted.module, types={**wanted.ready.types, **wanted.module.types})
            self._access.hold(ready, machine.contexts, self._loads_seen)

    async def _machine_to_make_for(self) -> Machine:
        self._loads_seen = self._a.selinux.policy_load()
        return await self.machine()

    async def _begin(self) -> None:
        """Forget what was found right, since something is to be written."""
        self._settled = None
        try:  # once a change, which began with it; here for what is made right without one
            await self._a.boot.remove()
        except StoreFailed as error:
            log.critical("the next boot may load what is out of date: %s", error)

    async def _run(self, step: ApplyTable, before: Table | None) -> None:
        if [*step.commands] == adopt_commands():  # what a boot loaded stays as it is
            self._settled = None
        else:
            await self._begin()
        try:
            await self._a.nft.run(step.commands)
        finally:
            self._planning.resting.note(before, step.table)

    async def _switch(self, values: Mapping[str, bool]) -> None:
        await self._begin()
        before, self._loads_seen = await self._machines.set_booleans(values)
        slots = {parse_switch(name)[0] for name in values}
        self._access.switched(before, self._loads_seen, slots)

    async def _apply(self, step: LoadModule | RemoveModule, wanted: Artefacts) -> None:
        await self._begin()
        if isinstance(step, LoadModule):
            await self._load(step.module)
        else:
            await self._a.modules.remove()
        # Before the table names a type: who else may use it?
        machine = await self._machine_to_make_for()
        loaded = loaded_module(machine.policy, machine.contexts)
        switches = step.module if isinstance(step, LoadModule) else Module()
        verify_module(loaded, replace(switches, types=wanted.module.types))

    async def _load(self, module: Module) -> None:
        text = module_text(module, self._a.selinux.contexts())
        self._loading = module
        try:
            await self._a.modules.install(text)
        finally:
            async with self._closing:
                self._loading = None
        if self._overtaken:
            raise Overtaken
