"""A reconciler with a model machine and a store in memory, both of which may be made to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from appfwd.core.compiler import compile_state
from appfwd.core.plan import plan
from appfwd.core.pool import assigned
from appfwd.errors import AppfwdError
from appfwd.model.changes import Change, add_guard
from appfwd.model.ends import Moment
from appfwd.model.state import DesiredState, Guard
from appfwd.ports import Stored
from appfwd.reconciler import Reconciler
from tests.core.fakes import CountingKernel, FakeKernel, Faults, MemoryStore
from tests.core.samples import CONTEXTS, UNLABELED, make_policy
from tests.core.stories import place

HOST = place("10.0.0.5")


class World:
    """A reconciler with a machine and a store, both of which may be made to fail."""

    def __init__(self) -> None:
        self.faults = Faults(self._before)
        self.fail: Callable[[str], None] = lambda _operation: None
        self.machine = FakeKernel(make_policy(), self.faults)
        self.store = MemoryStore(self.faults)
        self.kernel = CountingKernel(self.machine.adapters())
        self.now, self.wall = Moment("boot-1", 100.0), 1000.0
        self.reconciler = self.restarted()

    def restarted(self) -> Reconciler:
        """Return the reconciler of a daemon that has just begun."""
        return Reconciler(self.kernel, self.store, lambda: self.now, now=lambda: self.wall)

    def _before(self, operation: str) -> None:
        assert self.reconciler.stored == self.store.stored, "memory and store differ"
        self.fail(operation)

    def fail_at(self, name: str, error: Exception, times: int = 1) -> None:
        """Let the next ``times`` operations called ``name`` fail."""
        left = [times]

        def fail(operation: str) -> None:
            if operation.split(maxsplit=1)[0] == name and left[0]:
                left[0] -= 1
                raise error

        self.fail = fail

    def in_force(self, state: DesiredState) -> bool:
        """Tell whether the kernel is what ``state`` asks for."""
        snapshot = self.machine.model.snapshot()
        wanted = assigned(compile_state(state, self.machine.model.machine()), snapshot, CONTEXTS)
        return plan(snapshot, wanted, UNLABELED) == ()

    def problems(self) -> list[AppfwdError]:
        """Return the problem that stands, if one does."""
        return [] if self.reconciler.problem is None else [self.reconciler.problem]

    def consistent(self) -> None:
        """Hold that memory, store and kernel agree."""
        assert self.reconciler.stored == self.store.stored
        assert self.in_force(self.store.stored.state)

    async def outcomes(self, *changes: Change) -> list[Stored | BaseException]:
        """Submit all at once; return what each caller got."""
        submits = (self.reconciler.submit(change, 1000) for change in changes)
        return await asyncio.gather(*submits, return_exceptions=True)


def run(story: Callable[[World], Awaitable[None]]) -> World:
    """Run ``story`` beside the writer of a new world."""
    world = World()

    async def main() -> None:
        await world.reconciler.restore()
        writer = asyncio.create_task(world.reconciler.run())
        try:
            await story(world)
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer

    asyncio.run(main())
    return world


def hosts(count: int) -> list[Change]:
    """Return as many guards of hosts."""
    return [add_guard(Guard(place(f"10.0.{n // 250}.{n % 250}"))) for n in range(count)]
