"""An asker at its desk: with the real writer over a model kernel, a store and agents in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from appfwd.asking.agents import Agents
from appfwd.asking.asker import Asker, Outside
from appfwd.asking.blocks import BlockList
from appfwd.core.questions import id_of
from appfwd.errors import NotFound
from appfwd.listening.denials import Denials
from appfwd.listening.gatherer import Gatherer
from appfwd.listening.hearing import Hearing
from appfwd.model.block import Block, Blocked
from appfwd.model.changes import add_fence
from appfwd.model.ends import After
from appfwd.model.fence import Fence
from appfwd.model.observation import Observation
from appfwd.model.request import Request
from appfwd.model.state import Grant
from appfwd.ports import Caller, Stored
from tests.core.stories import place
from tests.core.test_observer import Memory
from tests.core.world import World

HOST = "10.0.0.5:443/tcp"
ME = Caller(":1.5", 1000)


class Blocks:
    """Blocks in memory, which may fail."""

    def __init__(self) -> None:
        self.kept: dict[Block, Blocked] = {}
        self.error: Exception | None = None

    async def load(self) -> Sequence[Blocked]:
        if self.error:
            raise self.error
        return list(self.kept.values())

    async def add(self, blocked: Blocked) -> None:
        if self.error:
            raise self.error
        self.kept.setdefault(blocked.block, blocked)

    async def remove(self, block: Block) -> None:
        if block not in self.kept:
            raise NotFound("no such block")
        del self.kept[block]


@dataclass
class Voice:
    """Remembers what agents were told."""

    told: list[tuple[str, str, str]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def asked(self, agent: str, request: Request) -> None:
        self.told.append((agent, "asked", request.destination))
        self.requests.append(request)

    def withdrawn(self, agent: str, identity: str, why: str) -> None:
        assert identity
        self.told.append((agent, "withdrawn", why))

    def take(self) -> list[tuple[str, str, str]]:
        """Return what was told since somebody looked."""
        told, self.told = self.told, []
        return told


class Desk:
    """An asker, and all that it works with; a_t is fenced."""

    def __init__(self) -> None:
        self.world, self.voice, self.blocks = World(), Voice(), Blocks()
        self.active = frozenset({1000})
        self.now = 1000.5
        self.history = Memory()
        self.names: dict[str, str] = {}
        reconciler, kernel = self.world.reconciler, self.world.kernel
        history = Gatherer(self.history, lambda: self.now)
        self.denials = Denials(history, kernel.machine, lambda: reconciler.stored.state.settings)
        agents = Agents(lambda: self.active)
        agents.voice = self.voice
        blocks = BlockList(self.blocks)
        others = (agents, blocks, self.name, lambda: self.now)
        outside = Outside(reconciler, kernel, self.denials, *others)
        self.asker = Asker(outside)
        self.denials.on_denied = self.asker.denied
        self.hearing = Hearing(self.denials.take)

        async def changed(_old: Stored, _new: Stored) -> None:
            self.asker.changed()

        reconciler.on_change = changed

    async def name(self, address: str) -> str:
        """Tell what an address is called."""
        return self.names.get(address, "")

    async def deny(self, *records: str) -> None:
        """Have the kernel refuse packets, and wait until that is worked on."""
        worked = asyncio.Event()

        def denied(batch: object) -> None:
            self.asker.denied(batch)  # type: ignore[arg-type]
            worked.set()

        self.denials.on_denied = denied
        self.hearing.heard(records)
        async with asyncio.timeout(30):
            await worked.wait()

    async def fence(self, *domains: str) -> None:
        for domain in domains:
            await self.world.reconciler.submit(add_fence(Fence(domain)), 0)

    async def allow(self, where: str = HOST, caller: Caller = ME, granted: str = "") -> str:
        one = Observation("a_t", place(where))
        question = self.asker.question(id_of(one))
        grant = Grant("a_t", place(granted or where))
        with self.asker.answering(question):
            return await self.asker.allow(caller, question, grant, After(600.0))

    def pending(self) -> list[str]:
        return [one.destination for one in self.asker.pending()]


Story = Callable[[Desk], Awaitable[None]]


def run(story: Story) -> None:
    """Run a story with everything serving, a_t fenced and an agent of the active user."""

    async def whole() -> None:
        desk = Desk()
        await desk.world.reconciler.restore()
        runs = (desk.world.reconciler, desk.denials, desk.asker)
        tasks = [asyncio.create_task(one.run()) for one in runs]
        try:
            await desk.fence("a_t")
            desk.asker.register(ME)
            await story(desk)
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()

    asyncio.run(whole())
