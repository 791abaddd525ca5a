"""The order of every change. This file alone decides what comes before what.

A label must be in policy before the table names it, and must be out of the table before policy
drops it. A packet type's users never change while the table names it, since its name is made of
them. So a change is at most three steps, and after each of them nothing is allowed that neither
the old nor the new state allows:

1. load a policy with the types of both states, and the bridge if either has it;
2. apply the table, in one transaction;
3. load a policy without the bridge, where it closes.

Types that are in use no more are dropped with the next load that happens anyway.
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
    steps: list[Step] = []
    loaded, goal = snapshot.module, wanted.module
    # A table that cannot be read may name any of the types.
    named = snapshot.table.packet_types(unlabeled) if snapshot.table else frozenset(loaded.types)
    if not loaded.covers(goal) or (goal.bridge and not loaded.bridge):
        types = {**_kept(loaded, named), **wanted.spare.types, **goal.types}
        loaded = Module(types, loaded.bridge or goal.bridge)
        steps.append(LoadModule(loaded))
    commands = table_commands(snapshot.table, wanted.table)
    if not commands and snapshot.orphan:
        commands = adopt_commands()
    if commands:
        steps.append(ApplyTable(tuple(commands), wanted.table))
    if loaded.bridge and wanted.bridge is Bridge.CLOSED:
        steps.append(LoadModule(Module(loaded.types, bridge=False)))
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
