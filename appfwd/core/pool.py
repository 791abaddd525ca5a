"""The pool: which audience is on which slot, and who is enrolled.

The compiler names every audience by its content, and knows nothing of slots. Here those audiences
that the loaded policy has no type for are put on slots, as far as booleans alone can make a slot
theirs; the rest get types of their own, which takes a policy load. What the table names stays where
it is, so the meaning of a label never changes under a packet, and a slot is given away only when
no table has named it for a while.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice

from appfwd.core.compiler import Artefacts
from appfwd.core.module import Module, Pool
from appfwd.core.plan import Snapshot
from appfwd.model.policy import KernelContexts, Rights
from appfwd.model.slots import is_slot

#: Slots that are there at first, that more come by, and that are the most.
SLOTS, SLOTS_AT_MOST = 32, 128
#: Domains that are enrolled at the most: each costs a boolean for every slot.
ENROLLED_AT_MOST = 32


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
    at: dict[str, str] = {}
    short = False
    for name, rights in sorted(wanted.module.types.items()):
        held = _held(snapshot, name)
        if held is not None:
            slot = held if is_slot(held) and _fits(loaded, rights) else None
        elif loaded.types.get(name) == rights or not _fits(loaded, rights):
            slot = None
        else:
            slot = free.take(rights.send)
            short = short or (slot is None and loaded.pool.slots > 0)
        if slot is not None:
            at[name] = slot
    needed = _needed(snapshot).union(*(wanted.module.types[name].send for name in at))
    pool = _pool(loaded.pool, wanted.enrol, needed, short=short and anew)
    return _placed(wanted, loaded, contexts, at, pool)


def _placed(
    wanted: Artefacts,
    loaded: Module,
    contexts: KernelContexts,
    at: Mapping[str, str],
    pool: Pool,
) -> Artefacts:
    own = {name: r for name, r in wanted.module.types.items() if name not in at}
    users = {slot: wanted.module.types[name].send for name, slot in at.items()}
    module = replace(
        wanted.module,
        types={**own, **{slot: Rights() for slot in users}},
        on={slot: who for slot, who in {**loaded.on, **users}.items() if who},
        pool=pool,
    )
    named = {
        name: contexts.packet_context(at[name]) if name in at else context
        for name, context in wanted.table.contexts.items()
    }
    ready = {
        name: rights
        for name, rights in wanted.ready.types.items()
        if loaded.types.get(name) == rights or not _fits(loaded, rights)
    }
    return replace(
        wanted,
        module=module,
        table=replace(wanted.table, contexts=named),
        ready=replace(wanted.ready, types=ready),
    )


def _needed(snapshot: Snapshot) -> frozenset[str]:
    """Return the domains that use slots which the table may name."""
    on, table = snapshot.module.on, snapshot.table
    named = on.keys() if table is None else map(table.type_of, table.contexts)
    return frozenset[str]().union(*(on[slot] for slot in named if slot in on))


def _pool(had: Pool, likely: Iterable[str], needed: frozenset[str], *, short: bool) -> Pool:
    """Return the pool that comes with the next policy load; nobody is enrolled by a load alone."""
    others = dict.fromkeys(chain(likely, sorted(had.domains)))
    room = max(ENROLLED_AT_MOST - len(needed), 0)
    domains = needed.union(islice((d for d in others if d not in needed), room))
    if len(domains) <= 1 and not needed:
        return Pool()
    return Pool(min(max(had.slots, SLOTS) + (SLOTS if short else 0), SLOTS_AT_MOST), domains)


def _held(snapshot: Snapshot, name: str) -> str | None:
    """Return the packet type that the table has for an audience."""
    if snapshot.table is None or name not in snapshot.table.contexts:
        return None
    return snapshot.table.type_of(name)


def _fits(loaded: Module, rights: Rights) -> bool:
    """Tell whether booleans alone can make a slot an audience's."""
    return rights.send == rights.recv and rights.send <= loaded.pool.domains


class _Free:
    """The slots that no table names, to be taken: those nobody is let use first."""

    def __init__(self, snapshot: Snapshot, resting: Collection[str]) -> None:
        self._on = snapshot.module.on
        self._left = list(self._idle(snapshot))
        self._resting = frozenset(resting)

    @staticmethod
    def _idle(snapshot: Snapshot) -> Iterator[str]:
        # A table that is not as we make it may name any.
        if snapshot.table is not None:
            named = frozenset(map(snapshot.table.type_of, snapshot.table.contexts))
            yield from (slot for slot in snapshot.module.pool.names() if slot not in named)

    def take(self, domains: frozenset[str]) -> str | None:
        """Return a slot for an audience, one that is the audience's already if there is any."""
        its_own = [slot for slot in self._left if self._on.get(slot) == domains]
        rested = [slot for slot in self._left if slot not in self._resting]
        unused = [slot for slot in rested if slot not in self._on]
        for slots in (its_own, unused, rested):
            if slots:
                self._left.remove(slots[0])
                return slots[0]
        return None
