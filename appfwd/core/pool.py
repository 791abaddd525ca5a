"""The pool: which audience is on which slot, and who is enrolled.

The compiler names every audience by its content, and knows nothing of slots. Here those audiences
that the loaded policy has no type for are put on slots, as far as booleans alone can make a slot
theirs; the rest get types of their own, which takes a policy load. What the table names stays where
it is, so the meaning of a label never changes under a packet, and a slot is given away only when
no table has named it for a while.

An audience is made up of members: domains, and at most one group, of those who may use the place
anyway and whom a grant adds to.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import NamedTuple

from appfwd.core.audience import NamedByContent
from appfwd.core.compiler import Artefacts
from appfwd.core.module import Module, Pool
from appfwd.core.plan import Snapshot
from appfwd.model.policy import KernelContexts, Rights
from appfwd.model.slots import is_group, is_slot

#: Slots that are there at first, that more come by, and that are the most.
SLOTS, SLOTS_AT_MOST = 32, 128
#: Domains and groups that are enrolled at the most: each costs a boolean for every slot.
ENROLLED_AT_MOST, GROUPS_AT_MOST = 32, 32


def assigned(
    wanted: Artefacts,
    snapshot: Snapshot,
    contexts: KernelContexts,
    resting: Collection[str] = (),
    *,
    anew: bool = True,
) -> Artefacts:
    """Return ``wanted`` with its audiences on slots where that saves a policy load.

    Slots that are ``resting`` were named by a table a moment ago: packets may still carry their
    label. Unless ``anew``, no audience comes to a slot that is not its own already.
    """
    if not wanted.active:
        return wanted
    loaded = snapshot.module
    free = _Free(snapshot, resting) if anew else _Free(replace(snapshot, table=None), ())
    at: dict[str, _Place] = {}
    short = False
    for name, rights in sorted(wanted.module.types.items()):
        held = _held(snapshot, name)
        slot: str | None = None
        if held is not None:
            slot = held if is_slot(held) else None
            members = _members(loaded, rights, held) if slot else None
        elif loaded.types.get(name) == rights:
            members = None
        else:
            members = _members(loaded, rights)
            slot = None if members is None else free.take(members)
            short = short or (members is not None and slot is None and loaded.pool.slots > 0)
        if slot is not None and members is not None:
            at[name] = _Place(slot, members)
    needed = _needed(snapshot, resting).union(*(place.members for place in at.values()))
    pool = _pool(wanted, loaded.pool, needed, short=short and anew)
    return _placed(wanted, loaded, contexts, at, pool)


class _Place(NamedTuple):
    """Where an audience is: on which slot, and the members whose booleans are on."""

    slot: str
    members: frozenset[str]


def _placed(
    wanted: Artefacts,
    loaded: Module,
    contexts: KernelContexts,
    at: Mapping[str, _Place],
    pool: Pool,
) -> Artefacts:
    own = {name: r for name, r in wanted.module.types.items() if name not in at}
    on = dict(at.values())
    module = replace(
        wanted.module,
        types={**own, **{slot: Rights() for slot in on}},
        on={slot: who for slot, who in {**loaded.on, **on}.items() if who},
        pool=pool,
    )
    named = {
        name: contexts.packet_context(at[name].slot) if name in at else context
        for name, context in wanted.table.contexts.items()
    }
    ready = {
        name: rights
        for name, rights in wanted.ready.types.items()
        if loaded.types.get(name) == rights or _members(loaded, rights) is None
    }
    return replace(
        wanted,
        module=module,
        table=replace(wanted.table, contexts=named),
        ready=replace(wanted.ready, types=ready),
    )


def _needed(snapshot: Snapshot, resting: Collection[str]) -> frozenset[str]:
    """Return the members that use slots which the table may name, or packets may carry."""
    on, table = snapshot.module.on, snapshot.table
    named = on.keys() if table is None else {*map(table.type_of, table.contexts), *resting}
    members = frozenset[str]().union(*(on[slot] for slot in named if slot in on))
    # Of who is not enrolled the boolean shall go, or is another module's.
    return members & snapshot.module.pool.members


def _pool(wanted: Artefacts, had: Pool, needed: frozenset[str], *, short: bool) -> Pool:
    """Return the pool that comes with the next policy load; nobody is enrolled by a load alone."""
    using = frozenset(member for member in needed if not is_group(member))
    domains = _filled(using, [*wanted.enrol, *sorted(had.domains)], ENROLLED_AT_MOST)
    groups = {NamedByContent().group_for(rights): rights for rights in _worth_it(wanted)}
    known = {**groups, **had.groups}
    names = _filled(needed & had.groups.keys(), [*groups, *sorted(had.groups)], GROUPS_AT_MOST)
    if not needed and (not domains or len(domains) + len(names) == 1):
        return Pool()
    slots = min(max(had.slots, SLOTS) + (SLOTS if short else 0), SLOTS_AT_MOST)
    return Pool(slots, domains, {name: known[name] for name in sorted(names)})


def _filled(needed: frozenset[str], likely: Iterable[str], at_most: int) -> frozenset[str]:
    """Return those that are needed, and of others the likeliest that there is room for."""
    others = (name for name in dict.fromkeys(likely) if name not in needed)
    return needed.union(islice(others, max(at_most - len(needed), 0)))


def _worth_it(wanted: Artefacts) -> Iterable[Rights]:
    """Return the groups that are worth enrolling: first those that audiences are made of."""
    if len(wanted.groups) <= GROUPS_AT_MOST:
        return wanted.groups
    audiences = [*wanted.module.types.values(), *wanted.ready.types.values()]
    used = [g for g in wanted.groups if any(_beside(rights, g) is not None for rights in audiences)]
    return dict.fromkeys(chain(used, wanted.groups))


def _members(loaded: Module, rights: Rights, held: str = "") -> frozenset[str] | None:
    """Return the members whose booleans make a slot an audience's; None where none can.

    Where the slot ``held`` has the audience already it stays as it is made up.
    """
    enrolled = loaded.pool.domains
    on = loaded.on.get(held, frozenset())
    if held and loaded.users(held) == rights and on <= loaded.pool.members:
        return on
    if rights.send == rights.recv and rights.send <= enrolled:
        return rights.send
    for name, group in sorted(loaded.pool.groups.items(), key=_largest_first):
        more = _beside(rights, group)
        if more is not None and more <= enrolled:
            return more | {name}
    return None


def _largest_first(item: tuple[str, Rights]) -> tuple[int, str]:
    name, group = item
    return -len(group.send) - len(group.recv), name


def _beside(rights: Rights, group: Rights) -> frozenset[str] | None:
    """Return the domains that make up an audience with a group; None where none do."""
    if not (group.send <= rights.send and group.recv <= rights.recv):
        return None
    more = (rights.send - group.send) | (rights.recv - group.recv)
    return more if more <= rights.send and more <= rights.recv else None


def _held(snapshot: Snapshot, name: str) -> str | None:
    """Return the packet type that the table has for an audience."""
    if snapshot.table is None or name not in snapshot.table.contexts:
        return None
    return snapshot.table.type_of(name)


class _Free:
    """The slots that no table names, to be taken: those nobody is let use first."""

    def __init__(self, snapshot: Snapshot, resting: Collection[str]) -> None:
        self._on = snapshot.module.on
        members = snapshot.module.pool.members
        # Whom policy has lost, or another module has a boolean for, may come back to its slots.
        idle = (s for s in self._idle(snapshot) if self._on.get(s, frozenset()) <= members)
        self._left = list(idle)
        self._resting = frozenset(resting)

    @staticmethod
    def _idle(snapshot: Snapshot) -> Iterator[str]:
        # A table that is not as we make it may name any.
        if snapshot.table is not None:
            named = frozenset(map(snapshot.table.type_of, snapshot.table.contexts))
            # Whom a rule of another module lets use a slot would be in with any audience there.
            theirs = {name for name, rights in snapshot.module.types.items() if rights}
            taken = named | theirs
            yield from (slot for slot in snapshot.module.pool.names() if slot not in taken)

    def take(self, members: frozenset[str]) -> str | None:
        """Return a slot for an audience, one that is the audience's already if there is any."""
        its_own = [slot for slot in self._left if self._on.get(slot) == members]
        rested = [slot for slot in self._left if slot not in self._resting]
        unused = [slot for slot in rested if slot not in self._on]
        for slots in (its_own, unused, rested):
            if slots:
                self._left.remove(slots[0])
                return slots[0]
        return None
