"""What is planned at once on the event loop, and what beside it: nothing long is on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import ParamSpec, TypeVar
from unittest.mock import patch

import pytest

from appfwd.core import compiler
from appfwd.core.plan import ApplyTable, Fencing, Snapshot
from appfwd.kernel import Kernel
from appfwd.kernel.compiling import compile_supported
from appfwd.kernel.planning import Goal, Planning
from appfwd.model.changes import add_grant, add_guard, remove_grant
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import DesiredState, Grant, Guard
from appfwd.stopwatch import Stopwatch
from appfwd.turns import Aside
from tests.core.fakes import FakeKernel
from tests.core.samples import make_policy
from tests.core.stories import place, state_of

T = TypeVar("T")
P = ParamSpec("P")
HELD = tuple(("a_t", f"10.0.1.{n}:443/tcp") for n in range(20))
START = state_of("10.0.0.0/8", grants=(*HELD, ("b_t", "10.0.2.1:443/tcp")))
NEW = Grant("b_t", place("10.0.1.1:443/tcp"))


class Counted(Aside):
    """Counts what goes aside."""

    count = 0

    async def run(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """Run it there."""
        self.count += 1
        return await super().run(work, *arguments, **options)


class Planned:
    """A kernel in a state, and plans from there."""

    def __init__(self, start: DesiredState, policy: LoadedPolicy | None = None) -> None:
        kernel = Kernel(FakeKernel(policy or make_policy()).adapters())
        asyncio.run(kernel.make(start))
        verified = kernel.verified()
        assert verified is not None
        self.machine, self.snapshot = verified
        self.start = start
        self.aside = Counted("test")
        self.planning = Planning(self.aside)

    def at_once(self, state: DesiredState, *ready: Grant, read: Snapshot | None = None) -> bool:
        """Plan the way to a state; tell whether that was on the loop, and hold it right.

        It starts from what is remembered, or from what is ``read``.
        """
        self.planning.compiling.next(self.start, self.machine)
        before, snapshot = self.aside.count, read or self.snapshot
        goal = Goal(state, self.machine, frozenset(ready), Fencing.MIXED)
        wanted, steps = asyncio.run(
            self.planning.steps(snapshot, goal, Stopwatch(), remembered=read is None)
        )
        whole = compile_supported(state, self.machine)
        whole = self.planning.on_slots(whole, snapshot, self.machine)
        assert (wanted.table, wanted.module) == (whole.table, whole.module)
        assert all(step.table == wanted.table for step in steps if isinstance(step, ApplyTable))
        return self.aside.count == before


@pytest.fixture
def planned() -> Planned:
    return Planned(START)


def test_a_point_or_a_few_are_planned_at_once(planned: Planned) -> None:
    assert planned.at_once(add_grant(NEW)(START))
    assert planned.at_once(remove_grant(min(START.grants, key=str))(START))
    assert planned.at_once(add_guard(Guard(place("10.0.3.1:443/tcp")))(START))
    some = (Grant("b_t", place(f"10.0.5.{n}:443/tcp")) for n in range(10))
    assert planned.at_once(replace(START, grants=START.grants | frozenset(some)))


def test_what_may_take_long_goes_aside(planned: Planned) -> None:
    many = (Grant("b_t", place(f"10.0.5.{n}:443/tcp")) for n in range(11))
    for state in (
        replace(START, grants=START.grants | frozenset(many)),
        add_grant(Grant("b_t", place("10.0.1.0/31:443/tcp")))(START),
        add_guard(Guard(place("11.0.0.0/8")))(START),
        replace(START, settings=replace(START.settings, baseline=True)),
        state_of("10.0.0.0/8", grants=HELD, fences=("c_t",)),
        # The very same, but it shares nothing with what was compiled.
        DesiredState(frozenset(START.guards), frozenset(START.grants), START.settings),
    ):
        assert not planned.at_once(state), state


def test_so_do_types_that_shall_be_ready(planned: Planned) -> None:
    assert planned.at_once(START)
    assert not planned.at_once(START, NEW)


def test_so_does_the_way_from_a_table_that_was_read_back(planned: Planned) -> None:
    state = add_grant(NEW)(START)
    assert not planned.at_once(state, read=planned.snapshot)
    assert not planned.at_once(state, read=replace(planned.snapshot, table=None))


def test_so_does_what_has_very_many_labels(planned: Planned) -> None:
    """Two maps are there, of three labels: those of two domains, and of nobody."""
    for at_most, at_once in ((3, True), (2, False)):
        with patch.object(compiler, "_LABELS_AT_MOST", at_most):
            assert planned.at_once(add_grant(NEW)(START)) is at_once


def test_what_was_verified_shares_its_table_with_what_was_compiled() -> None:
    """So the first change after a start is no dearer than the next."""
    threads: list[str] = []
    kernel = Kernel(FakeKernel(make_policy()).adapters())
    asyncio.run(kernel.make(START))
    compiling = kernel._planning.compiling
    compile_next = compiling.next

    def next_one(*arguments: object) -> object:
        threads.append(threading.current_thread().name)
        return compile_next(*arguments)  # type: ignore[arg-type]

    compiling.next = next_one  # type: ignore[method-assign, assignment]
    verified = kernel.verified()
    assert verified is not None
    table = verified[1].table
    asyncio.run(kernel.make(add_grant(NEW)(START), START))
    assert threads == ["MainThread"]
    assert table is not None
    verified = kernel.verified()
    assert verified is not None
    after = verified[1].table
    assert after is not None
    shared = [labels.beside(table.points[name]) for name, labels in after.points.items()]
    assert None not in shared
