"""Asks persons about denials, and takes their answers. Nothing waits for a person."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from appfwd.asking.agents import Agents
from appfwd.asking.blocks import BlockList
from appfwd.core.concerns import Concerns
from appfwd.core.denials import is_askable
from appfwd.core.machine import Machine
from appfwd.core.questions import EXPIRES, Question, Questions
from appfwd.errors import AppfwdError, NotFound
from appfwd.kernel import Kernel
from appfwd.listening.denials import Batch, Denials
from appfwd.model.block import Block, Blocked
from appfwd.model.changes import add_grant
from appfwd.model.ends import End
from appfwd.model.observation import Observation, Seen
from appfwd.model.request import Request
from appfwd.model.state import DesiredState, Grant
from appfwd.ports import Caller
from appfwd.reconciler import Reconciler

log = logging.getLogger(__name__)

#: Questions that the policy is made ready for at once, the latest.
READY_AT_MOST = 64
#: Seconds between two times that it is made ready, and how many times as long as that takes.
_READY_PAUSE, _READY_SHARE = 2.0, 4
#: Seconds between looks for questions that nobody answered for long.
_LOOK = 300.0


@dataclass(frozen=True)
class Outside:
    """What the asker works with.

    ``names`` tells what an address is called, where that is known; ``now`` gives Unix time.
    """

    reconciler: Reconciler
    kernel: Kernel
    denials: Denials
    agents: Agents
    blocks: BlockList
    names: Callable[[str], Awaitable[str]]
    now: Callable[[], float] = time.time


class Asker:
    """Owns the questions; see the module's text."""

    def __init__(self, outside: Outside) -> None:
        self._o = outside
        self._questions = Questions()
        self._concerns: Concerns | None = None
        self._unready = asyncio.Event()
        #: The state that the policy was made ready for, and the ids of the questions.
        self._ready: tuple[DesiredState, frozenset[str]] = (DesiredState(), frozenset())
        self._naming: set[asyncio.Task[None]] = set()

    def denied(self, batch: Batch) -> None:
        """Take denials, and ask about those that are ours and new."""
        now, concerns = self._o.now(), self._now_concerned()
        audience = self._o.agents.audience()
        for denial, times in batch:
            one = denial.observation
            if not denial.askable or self._o.blocks.hold(one) or concerns.granted(one):
                continue
            if not concerns.ours(one, unlabelled=denial.unlabelled):
                continue
            seen = Seen(one, times.count, times.first, times.last)
            question = self._questions.denied(seen, times.program, now)
            if question is None:
                continue
            if not self._is_ready(question):
                self._unready.set()
            if audience and self._questions.opens(question, now):
                self._ask(question, audience)
        self._withdraw_evicted()

    async def restore(self) -> None:
        """Read the blocks, and take up what was denied before a restart and not answered."""
        try:
            await self._o.blocks.load()
            seen, machine = await self._o.denials.history.seen(), await self._o.kernel.machine()
        except AppfwdError as error:
            log.error("what was asked before is not known: %s", error)
            return
        now = self._o.now()
        for one in sorted(seen, key=lambda one: one.last):
            if one.last > now - EXPIRES and self._stays(one.observation, machine):
                self._questions.denied(one, "", now)
        self._questions.evicted.clear()

    def _stays(self, one: Observation, machine: Machine) -> bool:
        concerns = self._now_concerned()
        return (
            one.domain in machine.policy.domains
            and is_askable(one.destination, machine)
            and not self._o.blocks.hold(one)
            and not concerns.granted(one)
            and concerns.ours(one, unlabelled=False)
        )

    def changed(self) -> None:
        """Drop the questions that the state in force answers."""
        if not len(self._questions):
            return  # what is known of a large state is not made for nothing
        concerns = self._now_concerned()
        for question in self._questions.all():
            one = question.observation
            if question.answering:
                continue
            if concerns.granted(one):
                self._drop(question, "granted")
            elif not concerns.ours(one, unlabelled=True):
                self._drop(question, "expired")

    async def run(self) -> None:
        """Make the policy ready for what is asked, and drop what is old, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK if len(self._questions) else None):
                    await self._unready.wait()
            except TimeoutError:
                pass
            self._unready.clear()
            for question in self._questions.expired(self._o.now()):
                self._drop(question, "expired")
            begun = time.monotonic()
            await self._prepare()
            took = time.monotonic() - begun
            await asyncio.sleep(max(_READY_PAUSE, _READY_SHARE * took))

    async def _prepare(self) -> None:
        latest = sorted(self._questions.all(), key=lambda one: one.last)[-READY_AT_MOST:]
        if not latest:
            return
        grants = (Grant(q.observation.domain, q.observation.destination) for q in latest)
        state = self._o.reconciler.stored.state
        try:
            await self._o.reconciler.prepare(frozenset(grants))
            self._ready = (state, frozenset(question.id for question in latest))
        except AppfwdError as error:
            log.warning("the policy could not be made ready for answers: %s", error)

    def _is_ready(self, question: Question) -> bool:
        """Tell whether an answer needs no policy load, by what was made ready last."""
        state, ready = self._ready
        return state is self._o.reconciler.stored.state and question.id in ready

    def register(self, caller: Caller) -> None:
        """Have an agent asked from now on, what is open included.

        Raises:
            Busy: there are too many agents.

        """
        self._o.agents.add(caller.sender, caller.uid)
        self.sessions_changed()

    def unregister(self, sender: str) -> None:
        """Ask an agent no more: it said so, or left the bus."""
        self._o.agents.remove(sender)

    def sessions_changed(self) -> None:
        """Ask whoever is at the machine now, and withdraw what others were asked."""
        agents = self._o.agents
        audience = agents.audience()
        agents.withdraw_all(audience)
        for question in self._questions.open(self._o.now()) if audience else ():
            self._ask(question, agents.not_shown(question.id, audience))
        for domain in self._questions.domains():
            self._ask_following(domain)

    def pending(self) -> list[Request]:
        """Return what is not answered yet, the oldest first."""
        return [self._questions.request(one) for one in self._questions.all()]

    def question(self, identity: str) -> Question:
        """Return the question of an id.

        Raises:
            NotFound: it was answered, or is not asked any more.

        """
        question = self._questions.get(identity)
        if question is None or question.answering:
            msg = (
                "That is not asked any more: it was answered already, or is asked otherwise now; "
                "'appfwctl pending' lists what is."
            )
            raise NotFound(msg)
        return question

    @contextmanager
    def answering(self, question: Question) -> Iterator[None]:
        """Have nobody else answer a question meanwhile.

        Raises:
            NotFound: somebody does already, or did.

        """
        self.question(question.id).answering = True
        try:
            yield
        finally:
            question.answering = False

    async def allow(self, caller: Caller, question: Question, grant: Grant, end: End | None) -> str:
        """Grant as the answer to a question; return the grant's id.

        Raises:
            AppfwdError: nothing was changed, and the question stays.

        """
        stored = await self._o.reconciler.submit(add_grant(grant, end), caller.uid)
        self._answered(grant.domain, [question], "answered", caller)
        return stored.records[grant].id

    async def block(self, caller: Caller, block: Block) -> None:
        """Ask nobody again about what a block holds.

        Raises:
            StoreFailed, Busy: nothing was changed.

        """
        await self._o.blocks.add(Blocked(block, self._o.now(), caller.uid))
        self._questions.blocked(block.domain, self._o.now())
        held = self._questions.covered(block.domain, [block.destination])
        self._answered(block.domain, held, "blocked", caller)

    async def unblock(self, block: Block) -> None:
        """Have a block no more.

        Raises:
            NotFound: there is none.
            StoreFailed: it is still there.

        """
        await self._o.blocks.remove(block)

    def holds(self, one: Observation) -> bool:
        """Tell whether nobody is asked about a place, since a block holds it."""
        return self._o.blocks.hold(one)

    def blocked(self) -> Sequence[Blocked]:
        """Return all blocks, in order."""
        return self._o.blocks.all()

    def _answered(
        self, domain: str, questions: Sequence[Question], why: str, caller: Caller
    ) -> None:
        for question in questions:
            self._drop(question, why, but=caller.sender)
        self._ask_following(domain)

    def _ask_following(self, domain: str) -> None:
        audience = self._o.agents.audience()
        if audience:
            for question in self._questions.following(domain, self._o.now()):
                self._ask(question, audience)

    def _ask(self, question: Question, audience: Sequence[str]) -> None:
        """Have agents ask at once, and once more where the peer's name is found."""
        self._o.agents.ask(self._questions.request(question), audience)
        if question.name is None:
            question.name = ""
            task = asyncio.ensure_future(self._name(question))
            self._naming.add(task)
            task.add_done_callback(self._naming.discard)

    async def _name(self, question: Question) -> None:
        peer = question.observation.destination.peer
        name = "" if peer is None else await self._o.names(str(peer))
        if name and self._questions.get(question.id) is question:
            question.name = name
            shown = self._o.agents.shown(question.id)
            self._o.agents.ask(self._questions.request(question), shown)

    def _drop(self, question: Question, why: str, *, but: str = "") -> None:
        self._questions.drop(question)
        self._o.agents.withdraw(question.id, why, but=but)

    def _withdraw_evicted(self) -> None:
        evicted, self._questions.evicted = self._questions.evicted, []
        for question in evicted:
            self._o.agents.withdraw(question.id, "expired")

    def _now_concerned(self) -> Concerns:
        state = self._o.reconciler.stored.state
        if self._concerns is None or self._concerns.state is not state:
            self._concerns = Concerns(state)
        return self._concerns
