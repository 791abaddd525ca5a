"""From a desired state to the steps that bring the kernel there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from appfwd.core.compiler import Artefacts
from appfwd.core.machine import Machine
from appfwd.core.plan import Fencing, Snapshot, Step, plan
from appfwd.core.pool import assigned
from appfwd.core.verify import verify_exclusive
from appfwd.kernel.compiling import Compiling
from appfwd.kernel.resting import Resting
from appfwd.model.state import DesiredState, Grant
from appfwd.stopwatch import Stopwatch
from appfwd.turns import Aside


class Goal(NamedTuple):
    """What the kernel shall be brought to, and what is known of the change (see core.plan)."""

    state: DesiredState
    machine: Machine
    ready: Collection[Grant]
    change: Fencing


class Planning:
    """Compiles a state, puts its audiences on slots, and plans the way there."""

    def __init__(self, aside: Aside) -> None:
        self._aside = aside
        self.compiling, self.resting = Compiling(), Resting()

    async def steps(
        self, snapshot: Snapshot, goal: Goal, stopwatch: Stopwatch, *, remembered: bool
    ) -> tuple[Artefacts, Sequence[Step]]:
        """Return what a goal comes to, and the steps from a snapshot to it.

        What takes less than going aside is done at once: little is new, and the snapshot is the
        ``remembered`` one, so that its table shares all else with the one that is wanted.

        Raises:
            PolicyUnsupported: the policy has not what is needed.
            NotExclusive: another module's rule opens what is to be shut.

        """
        quick = remembered and not goal.ready
        if quick and self.compiling.is_quick(goal.state, goal.machine):
            return self._steps(snapshot, goal, stopwatch)
        return await self._aside.run(self._steps, snapshot, goal, stopwatch)

    def _steps(
        self, snapshot: Snapshot, goal: Goal, stopwatch: Stopwatch
    ) -> tuple[Artefacts, Sequence[Step]]:
        state, machine, ready, change = goal
        with stopwatch.stage("compile"):
            wanted = self.compiling.next(state, machine, ready)
        with stopwatch.stage("plan"):
            wanted = self.on_slots(wanted, snapshot, machine)
            # Another module's rule stays whatever ours is, so no load of ours would help.
            verify_exclusive(snapshot.module, wanted.module)
            return wanted, plan(snapshot, wanted, machine.contexts.unlabeled, change)

    def foreseen(self, state: DesiredState, snapshot: Snapshot, machine: Machine) -> Artefacts:
        """Return what ``state`` would come to after a snapshot; nothing is remembered of it.

        Raises:
            PolicyUnsupported: the policy has not what is needed.

        """
        return self.on_slots(self.compiling.foreseen(state, machine), snapshot, machine)

    def on_slots(self, wanted: Artefacts, snapshot: Snapshot, machine: Machine) -> Artefacts:
        """Return artefacts with their audiences on slots, but on none that rests."""
        resting = self.resting.of(frozenset(snapshot.module.on))
        return assigned(wanted, snapshot, machine.contexts, resting)
