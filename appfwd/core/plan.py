"""The order of every change. This file alone decides what comes before what.

A label must be in policy before the table names it, and must be out of the table before policy
drops it. A packet type's users never change while the table names it, since its name is made of
them. So a change is a load of a policy with the types of both states, then the table, in one
transaction. Types that are in use no more are dropped with the next load that happens anyway.

Booleans of slots (see appfwd.core.pool) are committed between the two: a slot has its users before
the table names it. Those of one that is named no more stay on, in case it is wanted again.

The bridge is closed with the load before the table, since the table may open what only the
closed bridge shuts; and opened with a load of its own after it, since only the new table may
shut what the bridge opens. Where the table has no label yet the kernel checks no packet, and the
bridge must be there before the first. After each step nothing is allowed that neither the old
nor the new state allows. The capability of a strict bridge goes with the last load, comes with the
first. Rules that let observed packets pass come before the table marks any; they are dropped with
the bridge where it closes, and else with a load that happens anyway.

While the table changes, whoever is fenced before or after is fenced: what neither state allows
might pass else, for one of them may have a guard where the other has the fence. That cuts the
domain off for a moment from what it keeps. So fences change alone where that can be (see
appfwd.core.stages): then a new one comes with the last load, when the labels of what its domain
may still reach are there; one that ends goes with the first, while they still are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from appfwd.core.audience import NamedByContent
from appfwd.core.avc import FIRST_TYPES, SEEN_TYPES
from appfwd.core.compiler import Artefacts
from appfwd.core.module import Module
from appfwd.core.nft import Json, adopt_commands, delete_commands, table_commands
from appfwd.core.table import Table
from appfwd.model.policy import Rights
from appfwd.model.slots import is_slot, switch_name

#: Types kept loaded in case they are wanted again, which saves a policy load.
KEEP_AT_MOST = 256


@dataclass(frozen=True)
class Snapshot:
    """What the kernel has: our part of the policy, and our table.

    A table that is missing is the empty table; None is one that is not as we make it. An
    ``orphan`` is ours by its content, but the process that owned it has ended. ``installed`` tells
    whether a module of ours is there at all, ``current`` whether it is of this version.
    """

    module: Module
    table: Table | None
    table_exists: bool = True
    orphan: bool = False
    installed: bool = True
    current: bool = True

    @property
    def labelling(self) -> bool:
        """Tell whether the kernel may check packets: by a label in the table, or strictly."""
        return self.table is None or bool(self.table.contexts) or self.module.strict


@dataclass(frozen=True)
class LoadModule:
    """Install the module; the kernel loads the policy with it."""

    module: Module


@dataclass(frozen=True)
class SetBooleans:
    """Commit booleans of slots, all at once."""

    values: Mapping[str, bool]


@dataclass(frozen=True)
class ApplyTable:
    """Run one nftables transaction, after which the table is ``table``."""

    commands: tuple[Json, ...] = field(repr=False)
    table: Table


@dataclass(frozen=True)
class RemoveModule:
    """Remove the module; the kernel loads the policy without it."""


Step = LoadModule | SetBooleans | ApplyTable | RemoveModule


class Fencing(Enum):
    """What is known of a change of fences: that nothing else changes, or nothing (``MIXED``)."""

    ALONE = "alone"
    MIXED = "mixed"


def plan(
    snapshot: Snapshot, wanted: Artefacts, unlabeled: str, change: Fencing = Fencing.MIXED
) -> tuple[Step, ...]:
    """Return the next steps from ``snapshot`` to ``wanted``; none where all is as it should be.

    ``unlabeled`` is the type of packets without a label, which policy always has.
    """
    if not wanted.active:
        return _removal(snapshot)
    first = _before_the_table(snapshot, wanted, unlabeled, change)
    steps: list[Step] = []
    if _load_first(snapshot, wanted, first):
        steps.append(LoadModule(first))
    if snapshot.module.fenced - first.fenced:
        # What policy lets the domain do is seen only then; the labels that follow come after.
        return tuple(steps)
    # Who is enrolled no more has no boolean any more after the load.
    booleans = _switched(first if steps else snapshot.module, wanted.module)
    if booleans:
        steps.append(SetBooleans(booleans))
    commands = table_commands(snapshot.table, wanted.table)
    if not commands and snapshot.orphan:
        commands = adopt_commands()
    if commands:
        steps.append(ApplyTable(tuple(commands), wanted.table))
    goal = wanted.module
    last = replace(
        first, bridge=goal.bridge or first.bridge, strict=goal.strict, fenced=goal.fenced
    )
    if last != first:
        steps.append(LoadModule(last))
    return tuple(steps)


def table_alone(snapshot: Snapshot, wanted: Artefacts, loading: Module) -> ApplyTable | None:
    """Return the step to the table of ``wanted`` while the module ``loading`` is being loaded.

    None where there is nothing to do, or the table would need a type that is not loaded now, or
    that ``loading`` has not.
    """
    loaded, goal = snapshot.module, wanted.module
    there = (
        loaded.covers(goal)
        and loading.covers(goal)
        and not _switched(loaded, goal)
        and all(goal.on[name] <= loading.pool.members for name in goal.types if name in goal.on)
    )
    if not (there and wanted.active) or snapshot.table is None:
        return None
    commands = table_commands(snapshot.table, wanted.table)
    return ApplyTable(tuple(commands), wanted.table) if commands else None


def _before_the_table(
    snapshot: Snapshot, wanted: Artefacts, unlabeled: str, change: Fencing
) -> Module:
    """Return the module under which the table may change: no more open than both states."""
    loaded, goal = snapshot.module, wanted.module
    # A table that is not as we make it may name any type.
    any_type = frozenset(loaded.types) | frozenset(FIRST_TYPES)
    named = any_type if snapshot.table is None else snapshot.table.packet_types(unlabeled)
    passes = wanted.bridge.passes
    slots = dict.fromkeys(goal.pool.names(), Rights())
    on = {slot: loaded.on.get(slot, slots[slot].send) & goal.pool.members for slot in slots}
    more = {**wanted.spare.types, **wanted.ready.types, **slots}
    return Module(
        {**_kept(loaded, named), **more, **goal.types},
        bridge=passes and (loaded.bridge or (goal.bridge and not snapshot.labelling)),
        # What the table still marks must go on to pass, while all that is unlabelled does.
        observed=goal.observed or (passes and loaded.observed and not named.isdisjoint(SEEN_TYPES)),
        strict=goal.strict or loaded.strict,
        fenced=_fenced_first(loaded.fenced, goal.fenced, change),
        pool=goal.pool,
        on={slot: who for slot, who in on.items() if who},
    )


def _switched(loaded: Module, goal: Module) -> Mapping[str, bool]:
    """Return the booleans that differ, of the slots that the table is to name."""
    values: dict[str, bool] = {}
    for slot in filter(is_slot, goal.types):
        had, has = loaded.on.get(slot, frozenset()), goal.on.get(slot, frozenset())
        values.update({switch_name(slot, member): member in has for member in sorted(had ^ has)})
    return values


def _fenced_first(had: frozenset[str], has: frozenset[str], change: Fencing) -> frozenset[str]:
    """Return who is fenced while the table changes."""
    return has & had if change is Fencing.ALONE else has | had


def _load_first(snapshot: Snapshot, wanted: Artefacts, first: Module) -> bool:
    loaded = snapshot.module
    return (
        not (loaded.covers(wanted.module) and loaded.covers(wanted.ready))
        or first.bridge is not loaded.bridge
        or (first.observed and not loaded.observed)
        or (first.strict and not loaded.strict)
        or first.fenced != loaded.fenced
        # The loader's right to name the unlabelled type is in the module, whatever else is; so are
        # the labels of first packets.
        or (bool(wanted.table.contexts) and not snapshot.current)
    )


def _removal(snapshot: Snapshot) -> tuple[Step, ...]:
    steps: list[Step] = []
    if snapshot.table_exists:
        steps.append(ApplyTable(tuple(delete_commands()), Table()))
    if snapshot.installed:
        steps.append(RemoveModule())
    return tuple(steps)


def _kept(loaded: Module, named: frozenset[str]) -> Mapping[str, Rights]:
    # What another module opens is not to be kept open by ours.
    sound = (n for n, r in loaded.types.items() if NamedByContent().type_for(r) == n)
    idle = sorted(set(sound) - named)[:KEEP_AT_MOST]
    return {name: loaded.types[name] for name in {*idle, *(named & set(loaded.types))}}
