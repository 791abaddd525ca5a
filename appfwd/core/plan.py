"""The order of every change. This file alone decides what comes before what.

A label must be in policy before the table names it, and must be out of the table before policy
drops it. A packet type's users never change while the table names it, since its name is made of
them. So a change is a load of a policy with the types of both states, then the table, in one
transaction. Types that are in use no more are dropped with the next load that happens anyway.

The bridge is closed with the load before the table, since the table may open what only the
closed bridge shuts; and opened with a load of its own after it, since only the new table may
shut what the bridge opens. Where the table has no label yet the kernel checks no packet, and the
bridge must be there before the first. After each step nothing is allowed that neither the old
nor the new state allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from appfwd.core.compiler import Artefacts
from appfwd.core.module import Module
from appfwd.core.nft import Json, adopt_commands, delete_commands, table_commands
from appfwd.core.table import Table
from appfwd.model.policy import Rights
from appfwd.model.state import Bridge

#: Types kept loaded in case they are wanted again, which saves a policy load.
KEEP_AT_MOST = 256


@dataclass(frozen=True)
class Snapshot:
    """What the kernel has: our part of the policy, and our table.

    A table that is missing is the empty table; None is one that is not as we make it. An
    ``orphan`` is ours by its content, but the process that owned it has ended.
    """

    module: Module
    table: Table | None
    table_exists: bool = True
    orphan: bool = False


@dataclass(frozen=True)
class LoadModule:
    """Install the module; the kernel loads the policy with it."""

    module: Module


@dataclass(frozen=True)
class ApplyTable:
    """Run one nftables transaction, after which the table is ``table``."""

    commands: tuple[Json, ...] = field(repr=False)
    table: Table


@dataclass(frozen=True)
class RemoveModule:
    """Remove the module; the kernel loads the policy without it."""


Step = LoadModule | ApplyTable | RemoveModule


def plan(snapshot: Snapshot, wanted: Artefacts, unlabeled: str) -> tuple[Step, ...]:
    """Return the steps from ``snapshot`` to ``wanted``; none where all is as it should be.

    ``unlabeled`` is the type of packets without a label, which policy always has.
    """
    if not wanted.active:
        return _removal(snapshot)
    loaded, goal = snapshot.module, wanted.module
    # A table that is not as we make it may name any type.
    any_type = frozenset(loaded.types)
    named = any_type if snapshot.table is None else snapshot.table.packet_types(unlabeled)
    labelling = snapshot.table is None or bool(snapshot.table.contexts)
    bridge = loaded.bridge and wanted.bridge is not Bridge.CLOSED
    if goal.bridge and not labelling:
        bridge = True
    first = Module({**_kept(loaded, named), **wanted.spare.types, **goal.types}, bridge)
    steps: list[Step] = []
    if not loaded.covers(goal) or bridge is not loaded.bridge:
        steps.append(LoadModule(first))
    commands = table_commands(snapshot.table, wanted.table)
    if not commands and snapshot.orphan:
        commands = adopt_commands()
    if commands:
        steps.append(ApplyTable(tuple(commands), wanted.table))
    if goal.bridge and not bridge:
        steps.append(LoadModule(Module(first.types, bridge=True)))
    return tuple(steps)


def _removal(snapshot: Snapshot) -> tuple[Step, ...]:
    steps: list[Step] = []
    if snapshot.table_exists:
        steps.append(ApplyTable(tuple(delete_commands()), Table()))
    if snapshot.module.types or snapshot.module.bridge:
        steps.append(RemoveModule())
    return tuple(steps)


def _kept(loaded: Module, named: frozenset[str]) -> Mapping[str, Rights]:
    idle = sorted(set(loaded.types) - named)[:KEEP_AT_MOST]
    return {name: loaded.types[name] for name in {*idle, *(named & set(loaded.types))}}
