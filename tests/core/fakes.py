"""Adapters over the model kernel, and a store in memory, with failures to order.

A fake stands only beside a test that runs the real thing: the guest tier drives the same
reconciler with the real kernel, module store and database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from appfwd.core.plan import ApplyTable, RemoveModule
from appfwd.core.table import Table
from appfwd.kernel import Adapters, Kernel
from appfwd.model.patched import Patched
from appfwd.model.policy import KernelContexts, LoadedPolicy, PacketRule, Rights
from appfwd.model.services import Interval
from appfwd.model.state import DesiredState, Grant
from appfwd.ports import Record, Stored
from tests.core.cilreader import CilError
from tests.core.kernelmodel import KernelModel
from tests.core.samples import CONTEXTS, EPHEMERAL


@dataclass
class Faults:
    """What fails: ``before`` is called with the name of every operation and may raise."""

    before: Callable[[str], None] = lambda _operation: None
    calls: list[str] = field(default_factory=list)

    async def point(self, operation: str) -> None:
        """Let others run, then do or refuse ``operation``."""
        self.calls.append(operation)
        await asyncio.sleep(0)
        self.before(operation)

    def now(self, operation: str) -> None:
        """Do or refuse ``operation`` at once."""
        self.calls.append(operation)
        self.before(operation)


class FakeKernel:
    """All adapters of one machine; ``model`` is its kernel."""

    def __init__(self, policy: LoadedPolicy, faults: Faults | None = None) -> None:
        self.model = KernelModel(policy)
        self.faults = faults or Faults()
        self.loads = 0
        self.boot = FakeBoot(self.faults)
        #: What other tables hold.
        self.others: list[Mapping[str, Any]] = []
        #: What others have on our types beside what our module gives.
        self.culprits: Mapping[str, Rights] = {}
        #: What the query says beyond the truth, such as another bridge.
        self.twist: Mapping[str, Any] = {}
        #: Permissions that the kernel withholds although policy gives them.
        self.withheld: frozenset[str] = frozenset()
        #: The access vectors that were asked for, as (domain, packet type).
        self.asked: list[tuple[str, str]] = []

    def adapters(self) -> Adapters:
        """Return this machine as the kernel's side takes it."""
        return Adapters(self, self, self, self, self, self, self.boot)

    async def run(self, commands: Sequence[Mapping[str, Any]]) -> None:
        await self.faults.point("table")
        self.model.apply(ApplyTable(tuple(commands), Table()))

    async def list_ruleset(self) -> Sequence[Mapping[str, Any]]:
        return [*self.model.nft.listing(), *self.others]

    async def list_table(self, *, terse: bool = False) -> Sequence[Mapping[str, Any]]:
        await self.faults.point("shape" if terse else "list")
        return self.model.nft.listing(terse=terse)

    async def list_maps(self, names: Collection[str]) -> Sequence[Mapping[str, Any]]:
        await self.faults.point("maps")
        return self.model.nft.listed(names)

    async def labels(self, name: str, keys: Sequence[Mapping[str, Any]]) -> Sequence[str | None]:
        await self.faults.point("get")
        return self.model.nft.labels(name, keys)

    async def install(self, text: str) -> None:
        await self.faults.point("install " + text)
        try:
            self.model.install(text)
        except CilError as error:
            raise AssertionError(text) from error
        self.loads += 1

    async def remove(self) -> None:
        await self.faults.point("remove")
        self.model.apply(RemoveModule())
        self.loads += 1

    async def read(self) -> LoadedPolicy:
        await self.faults.point("query")
        policy = replace(self.model.policy(), **self.twist)
        rights = {
            name: held | self.culprits.get(name, Rights())
            for name, held in policy.packet_rights.items()
        }
        return replace(policy, packet_rights=rights)

    async def rules(self, domain: str) -> Sequence[PacketRule]:  # noqa: ARG002
        return ()

    def contexts(self) -> KernelContexts:
        return CONTEXTS

    def enforcing(self) -> bool:
        return True

    def access(self, domain: str, packet_type: str) -> frozenset[str]:
        self.asked.append((domain, packet_type))
        return self.model.loaded().permissions(domain, packet_type) - self.withheld

    def always_checks(self) -> bool:
        return self.model.loaded().strict

    def policy_load(self) -> int:
        return self.loads

    def set_booleans(self, values: Mapping[str, bool]) -> None:
        self.faults.now("booleans")
        self.model.set_booleans(values)
        self.loads += 1

    def ephemeral_ports(self) -> Interval:
        return EPHEMERAL


class FakeBoot:
    """The files for the next boot."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.ruleset: Sequence[Mapping[str, Any]] | None = None
        self.booleans: Mapping[str, bool] = {}
        self.written = 0

    async def remove(self) -> None:
        if self.ruleset is not None:
            await self._faults.point("unboot")
        self.ruleset = None

    async def write(
        self,
        ruleset: Sequence[Mapping[str, Any]],
        booleans: Mapping[str, bool],
        holds: Callable[[], bool],
    ) -> None:
        if (ruleset, booleans) == (self.ruleset, self.booleans):
            return
        await self._faults.point("boot")
        if holds():
            self.ruleset, self.booleans = ruleset, booleans
            self.written += 1


class CountingKernel(Kernel):
    """Counts how often it is made to follow."""

    made = 0

    async def make(
        self,
        state: DesiredState,
        before: DesiredState | None = None,
        ready: Collection[Grant] = (),
    ) -> bool:
        self.made += 1
        return await super().make(state, before, ready)


class MemoryStore:
    """A store that forgets with the process."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.stored = Stored(DesiredState())
        self.faults = faults or Faults()

    async def load(self) -> Stored:
        await self.faults.point("load")
        return self.stored

    async def save(self, state: DesiredState, now: float, owners: Mapping[Any, int]) -> Stored:
        await self.faults.point("save")
        records = {
            member: self.stored.records.get(member)
            or Record(f"{len(self.stored.records)}-{number}", now, owners[member])
            for number, member in enumerate(state.beyond(DesiredState()))
        }
        self.stored = Stored(state, Patched(records))
        return self.stored
