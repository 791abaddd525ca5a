"""What a change would do to the kernel: the steps, foreseen without taking any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from appfwd.core.compiler import Artefacts
from appfwd.core.module import Module, module_text
from appfwd.core.nft import Json
from appfwd.core.plan import (
    ApplyTable,
    LoadModule,
    RemoveModule,
    SetBooleans,
    Snapshot,
    Step,
    plan,
)
from appfwd.core.stages import stages
from appfwd.core.table import Table
from appfwd.model.policy import KernelContexts
from appfwd.model.slots import switch_name
from appfwd.model.state import DesiredState

#: Times that the planner is asked for one stage: it comes to rest after one or two.
_ROUNDS = 4


@dataclass(frozen=True)
class Foresight:
    """The steps of a change, and what the kernel has before and after them."""

    steps: tuple[Step, ...]
    before: Snapshot
    after: Snapshot

    @property
    def policy_loads(self) -> int:
        """How often the policy would be built and loaded."""
        return sum(isinstance(step, LoadModule | RemoveModule) for step in self.steps)

    @property
    def transactions(self) -> tuple[tuple[Json, ...], ...]:
        """The nftables transactions, each as its commands."""
        return tuple(step.commands for step in self.steps if isinstance(step, ApplyTable))

    def policy_lines(self, contexts: KernelContexts) -> tuple[str, ...]:
        """Return the statements of CIL, and booleans that are on, that would go and come.

        The former begin with ``- ``, the latter with ``+ ``.
        """
        old, new = (Counter(_text(one, contexts)) for one in (self.before, self.after))
        gone, come = (old - new).elements(), (new - old).elements()
        return (*(f"- {line}" for line in gone), *(f"+ {line}" for line in come))


def foresee(
    snapshot: Snapshot,
    before: DesiredState | None,
    after: DesiredState,
    compiled: Callable[[DesiredState, Snapshot], Artefacts],
    unlabeled: str,
) -> Foresight:
    """Return the steps from ``snapshot`` to ``after``, by way of the stages from ``before``.

    ``compiled`` compiles a state for a kernel in which a snapshot is.
    """
    steps: list[Step] = []
    at = snapshot
    for state, change in stages(before, after):
        for _ in range(_ROUNDS):
            following = plan(at, compiled(state, at), unlabeled, change)
            if not following:
                break
            steps += following
            for step in following:
                at = _after(at, step)
    return Foresight(tuple(steps), snapshot, at)


def _after(at: Snapshot, step: Step) -> Snapshot:
    match step:
        case LoadModule(module):
            return replace(at, module=module, installed=True)
        case SetBooleans(values):
            return replace(at, module=at.module.switched(values))
        case ApplyTable(commands, table):
            made = any("add" in command for command in commands)
            return replace(at, table=table, table_exists=made, orphan=False)
    return replace(at, module=Module(), installed=False)


def _text(snapshot: Snapshot, contexts: KernelContexts) -> list[str]:
    if not snapshot.installed:
        return []
    on = (switch_name(slot, d) for slot, who in snapshot.module.on.items() for d in who)
    text = module_text(snapshot.module, contexts)
    return [*text.splitlines(), *(f"boolean {name} is on" for name in sorted(on))]


def table_of(snapshot: Snapshot) -> Table:
    """Return the table of a snapshot; the empty one where it is not as we make it."""
    return snapshot.table or Table()
