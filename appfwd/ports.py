"""What the reconciler and the bus need of the outside; each is implemented by one adapter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from appfwd.model.block import Block, Blocked
from appfwd.model.observation import Observation, Seen
from appfwd.model.patched import Patched
from appfwd.model.policy import KernelContexts, LoadedPolicy, PacketRule
from appfwd.model.running import Running
from appfwd.model.services import Interval
from appfwd.model.state import DesiredState, Member


class Rows(list[dict[str, Any]]):
    """Rows within a row of an answer: told from a list of strings where there are none."""


class Nft(Protocol):
    """The nftables of the kernel."""

    async def run(self, commands: Sequence[Mapping[str, Any]]) -> None:
        """Run commands as one transaction. Raises TableFailed."""
        ...

    async def list_table(self, *, terse: bool = False) -> Sequence[Mapping[str, Any]]:
        """Return the listing of our table; empty where there is none. Raises TableFailed.

        A ``terse`` one has no elements.
        """
        ...

    async def list_maps(self, names: Collection[str]) -> Sequence[Mapping[str, Any]]:
        """Return the listing of some maps of our table. Raises TableFailed."""
        ...

    async def list_ruleset(self) -> Sequence[Mapping[str, Any]]:
        """Return the listing of every table. Raises TableFailed."""
        ...


class Elements(Protocol):
    """Single elements of the maps in our table."""

    async def labels(self, name: str, keys: Sequence[Mapping[str, Any]]) -> Sequence[str | None]:
        """Return what elements of a map of ours give, None for each not there. Raises TableFailed.

        The map is one without intervals, and the keys are as a transaction has them.
        """
        ...


class BootFiles(Protocol):
    """What the next boot loads before the daemon is there: a ruleset and policy booleans."""

    async def remove(self) -> None:
        """Remove it; it is off the disk when this returns. Quick if it is. Raises StoreFailed."""
        ...

    async def write(
        self,
        ruleset: Sequence[Mapping[str, Any]],
        booleans: Mapping[str, bool],
        holds: Callable[[], bool],
    ) -> None:
        """Write both durably, unless ``holds`` is false by then; nothing where they are there.

        Raises:
            StoreFailed: there is none of another state then.

        """
        ...


class ModuleStore(Protocol):
    """The store that policy modules are installed into."""

    async def install(self, text: str) -> None:
        """Install our module and load the policy. Raises PolicyLoadFailed, Busy."""
        ...

    async def remove(self) -> None:
        """Remove our module, where it is installed, and load the policy. Raises the same."""
        ...


class PolicyReader(Protocol):
    """Questions to the policy that the kernel has loaded."""

    async def read(self) -> LoadedPolicy:
        """Return what the loaded policy says. Raises SelinuxDisabled, PolicyUnsupported."""
        ...

    async def rules(self, domain: str) -> Sequence[PacketRule]:
        """Return the packet rules that concern a domain, in order. Raises the same."""
        ...


class Selinux(Protocol):
    """The kernel's own answers (selinuxfs)."""

    def contexts(self) -> KernelContexts:
        """Return the contexts that policy fixes. Raises SelinuxDisabled."""
        ...

    def enforcing(self) -> bool:
        """Tell whether refusals are enforced. Raises SelinuxDisabled."""
        ...

    def access(self, domain: str, packet_type: str) -> frozenset[str]:
        """Return the permissions of class packet that the kernel gives. Raises SelinuxDisabled."""
        ...

    def always_checks(self) -> bool:
        """Tell whether policy has the capability always_check_network. Raises SelinuxDisabled."""
        ...

    def policy_load(self) -> int:
        """Return a number that is one higher after each policy load or commit of booleans."""
        ...

    def set_booleans(self, values: Mapping[str, bool]) -> None:
        """Commit booleans, all at once. Raises PolicyLoadFailed, and then none is set."""
        ...


class Processes(Protocol):
    """What runs on this machine."""

    async def running(self) -> Sequence[Running]:
        """Return the domains that something runs in now, in order; what ends meanwhile is none."""
        ...


class Host(Protocol):
    """Other facts of this machine."""

    def ephemeral_ports(self) -> Interval:
        """Return the local ports that clients get."""
        ...


@dataclass(frozen=True)
class Record:
    """What is known of a member beside its value: its id, when (Unix time) and by whom."""

    id: str
    created: float
    uid: int


#: A member with what is known of it.
Kept = tuple[Member, Record]


@dataclass(frozen=True)
class Stored:
    """The desired state with the record of each member."""

    state: DesiredState
    records: Patched[Member, Record] = field(default_factory=Patched)

    def beyond(self, other: Stored) -> Sequence[Kept]:
        """Return the members that ``other`` has not, with their records, the oldest first."""
        new = self.state.beyond(other.state)
        return sorted(((m, self.records[m]) for m in new), key=lambda kept: int(kept[1].id))


class Store(Protocol):
    """The durable desired state."""

    async def load(self) -> Stored:
        """Return what is stored. Raises StoreFailed."""
        ...

    async def save(self, state: DesiredState, now: float, owners: Mapping[Any, int]) -> Stored:
        """Make ``state`` durable; new members get records with ``now`` and their owner's uid.

        Raises:
            StoreFailed: nothing was changed.

        """
        ...


@dataclass(frozen=True)
class Caller:
    """Who sent a request: unique bus name, uid, and whether polkit may ask a person."""

    sender: str
    uid: int
    interactive: bool = False


class Authority(Protocol):
    """polkit."""

    async def check(self, caller: Caller, action: str, details: Mapping[str, str]) -> None:
        """Return where the caller may do ``action``. Raises NotAuthorized, Unavailable."""
        ...


class Observations(Protocol):
    """What was observed of unlabelled traffic; bounded, and no loss where it is lost."""

    async def add(self, batch: Sequence[Seen]) -> Sequence[Observation]:
        """Add to what is kept; return the observations that were not there. Raises StoreFailed."""
        ...

    async def load(self) -> Sequence[Seen]:
        """Return what is kept, ordered by domain, then destination. Raises StoreFailed."""
        ...

    async def forget(self, observations: Collection[Observation] | None = None) -> int:
        """Drop some (None: all) and return how many were there. Raises StoreFailed."""
        ...


class Blocks(Protocol):
    """What a person said not to be asked about again."""

    async def load(self) -> Sequence[Blocked]:
        """Return all, ordered by domain, then destination. Raises StoreFailed."""
        ...

    async def add(self, blocked: Blocked) -> None:
        """Keep one. Raises StoreFailed, Busy."""
        ...

    async def remove(self, block: Block) -> None:
        """Drop one. Raises NotFound, StoreFailed."""
        ...
