"""Which question is shown as which notification, and what becomes of it.

At most :data:`SHOWN_AT_MOST` are shown at once; others wait. What times out or is dismissed is
only forgotten here: the question stays with the daemon. An action counts where its key is the one
of the question that its notification shows, and not at once: a click that was meant for what stood
there before would answer a question that nobody has read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from appfwd.agent import texts
from appfwd.agent.texts import ANSWERS, BACK, CLICK, MORE, About
from appfwd.errors import AppfwdError
from appfwd.model.request import Request

log = logging.getLogger(__name__)

#: Questions shown at once, and those that wait to be.
SHOWN_AT_MOST, WAITING_AT_MOST = 5, 64
#: Seconds for which a notification stands where it stands before a button of it answers.
SETTLED = 0.5

Reply = Callable[[str, str, Mapping[str, object]], Awaitable[Mapping[str, Any]]]


class Server(Protocol):
    """The notification server."""

    async def capabilities(self) -> frozenset[str]:
        """Return what it can do. Raises Unavailable."""
        ...

    async def name(self) -> str:
        """Return what it is called. Raises Unavailable."""
        ...

    async def notify(
        self, replaces: int, texts: tuple[str, str], actions: texts.Actions, seconds: float
    ) -> int:
        """Show a notification; return its number. Raises Unavailable."""
        ...

    async def close(self, number: int) -> None:
        """Take one away, where it is still there."""
        ...


@dataclass(eq=False)
class _Prompt:
    """A question that is shown; ``number`` is 0 until the server has given one.

    ``replaces`` is the number of the notification that the next one takes the place of. ``due``
    is whether it is about to be shown: what is said once more before that is said together.
    ``since`` is when its page was shown first, or came back.
    """

    request: Request
    number: int = 0
    replaces: int = 0
    page: int = 0
    since: float = 0.0
    due: bool = False
    gone: bool = False


class Prompts:
    """Asks through a server, and answers by ``reply``; ``seconds`` is how long each is shown.

    ``clock`` gives seconds that only go forward.
    """

    server: Server

    def __init__(
        self, reply: Reply, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reply, self._seconds, self._clock = reply, seconds, clock
        #: When a notification went last, so that others may have moved to where it stood.
        self._moved = 0.0
        self._shown: dict[str, _Prompt] = {}
        self._waiting: dict[str, Request] = {}
        self._about: About | None = None
        self._turn = asyncio.Lock()
        #: What a server told of the notification that it is about to give a number: its number,
        #: and the key of the action; empty for the end.
        self._early: list[tuple[int, str]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def asked(self, request: Request) -> None:
        """Ask; what is asked already, anew."""
        prompt = self._shown.get(request.id)
        if prompt is not None:
            prompt.request = request
            self._renew(prompt)
        elif len(self._shown) < SHOWN_AT_MOST:
            self._begin(request)
        else:
            self._wait(request)

    def withdrawn(self, identity: str, _why: str) -> None:
        """Ask no longer."""
        self._waiting.pop(identity, None)
        prompt = self._shown.get(identity)
        if prompt is not None:
            self._end(prompt)

    def lost(self) -> None:
        """Ask nothing any longer: the daemon that asked has gone."""
        self._waiting.clear()
        for prompt in list(self._shown.values()):
            self._end(prompt)

    def told(self, signal: str, body: list[Any]) -> None:
        """Take other signals of the daemon, which are of no concern."""

    def invoked(self, number: int, key: str) -> None:
        """Take an action that was chosen."""
        prompt = self._of(number, key)
        identity, _, word = key.partition("/")
        if prompt is not None and key == CLICK:
            # Of no question, so it never answers one. Where we gave it no meaning it has none.
            if self._about is not None and self._about.few:
                self._again(prompt, prompt.page + 1)
        elif prompt is None or identity != prompt.request.id:
            return
        elif word in (MORE, BACK):
            self._again(prompt, prompt.page + 1 if word == MORE else 0)
        elif word in ANSWERS and not self._settled(prompt):
            log.info("a button of %s was pressed too soon", prompt.request.id)
            self._again(prompt, prompt.page)
        elif word in ANSWERS:
            self._forget(prompt)
            self._do(self._answer(prompt, word))
            self._next()

    def closed(self, number: int) -> None:
        """Forget a notification that is no more; its question may be asked again."""
        prompt = self._of(number, "")
        if prompt is not None:
            self._forget(prompt)
            self._next()

    def restarted(self) -> None:
        """Show everything again, since the server forgot it, and what no server would show."""
        self._about = None
        for prompt in self._shown.values():
            prompt.number = prompt.replaces = 0
            self._renew(prompt)
        while self._waiting and len(self._shown) < SHOWN_AT_MOST:
            self._next()

    async def settled(self) -> None:
        """Return when nothing is under way any more."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _of(self, number: int, key: str) -> _Prompt | None:
        """Return the question that a notification shows; None where it shows none, or not yet."""
        found = next((p for p in self._shown.values() if number and p.number == number), None)
        if found is None and self._early is not None and len(self._early) < WAITING_AT_MOST:
            self._early.append((number, key))
        return found

    def _begin(self, request: Request) -> None:
        prompt = self._shown[request.id] = _Prompt(request)
        self._renew(prompt)

    def _renew(self, prompt: _Prompt) -> None:
        if not prompt.due:
            prompt.due = True
            self._do(self._show(prompt))

    def _wait(self, request: Request) -> None:
        if request.id in self._waiting or len(self._waiting) < WAITING_AT_MOST:
            self._waiting[request.id] = request

    def _end(self, prompt: _Prompt) -> None:
        self._forget(prompt)
        self._do(self._close(prompt))
        self._next()

    def _forget(self, prompt: _Prompt) -> None:
        del self._shown[prompt.request.id]
        prompt.gone = True
        self._moved = self._clock()

    def _again(self, prompt: _Prompt, page: int) -> None:
        """Show a page of a question whose notification had an action invoked."""
        prompt.page, prompt.since = page, 0.0
        # Most servers close a notification with its action, and tell so; that is no end.
        prompt.number, prompt.replaces = 0, prompt.number
        self._renew(prompt)

    def _settled(self, prompt: _Prompt) -> bool:
        """Tell whether a notification has stood in its place for long enough to be read."""
        return self._clock() - max(prompt.since, self._moved) >= SETTLED

    def _next(self) -> None:
        if self._waiting and len(self._shown) < SHOWN_AT_MOST:
            self._begin(self._waiting.pop(next(iter(self._waiting))))

    async def _show(self, prompt: _Prompt) -> None:
        """Show a question, or show it anew; in order, so that the last that was said stands."""
        async with self._turn:
            if prompt.gone or not prompt.due:
                return
            prompt.due = False
            try:
                about = await self._known_server()
                prompt.due = False  # what was said meanwhile is said now
                await self._notify(prompt, about)
            except AppfwdError:
                self._failed(prompt)
                raise
            await self._close_gone(prompt)

    def _failed(self, prompt: _Prompt) -> None:
        """Have a question that could not be shown wait for another server, or for a place.

        One that is on the screen stays there, and so does one that a new server is about to show.
        """
        if not (prompt.gone or prompt.due or prompt.number):
            self._forget(prompt)
            self._wait(prompt.request)

    async def _close_gone(self, prompt: _Prompt) -> None:
        """Close what was withdrawn while the server was slow to show it."""
        if prompt.gone:
            await self.server.close(prompt.number)

    async def _notify(self, prompt: _Prompt, about: About) -> None:
        text = texts.page(prompt.request, prompt.page, len(self._waiting), about)
        # The question's id in each key: a number of the server's may come again.
        keys = tuple(
            (word if word == CLICK else f"{prompt.request.id}/{word}", label)
            for word, label in text.actions
        )
        said, before = (text.summary, text.body), prompt.number or prompt.replaces
        early = self._early = []
        try:
            prompt.number = await self.server.notify(before, said, keys, self._seconds)
        finally:
            self._early = None
        if prompt.number != before or not prompt.since:
            prompt.since = self._clock()
        prompt.replaces = prompt.number
        log.debug("asked %s with notification %d", prompt.request.id, prompt.number)
        for number, key in early:
            # The end of the one that was replaced is none of the new one's.
            if number == prompt.number and key:
                self.invoked(number, key)
            elif number == prompt.number != before:
                self.closed(number)

    async def _known_server(self) -> About:
        if self._about is None:
            capabilities = await self.server.capabilities()
            self._about = About.of(capabilities, await self.server.name())
        return self._about

    async def _close(self, prompt: _Prompt) -> None:
        async with self._turn:
            if prompt.number:
                await self.server.close(prompt.number)

    async def _answer(self, prompt: _Prompt, word: str) -> None:
        self._do(self._close(prompt))  # a server that is slow does not hold the answer up
        answer, options = ANSWERS[word]
        try:
            await self._reply(prompt.request.id, answer, options)
        except AppfwdError as error:
            log.warning("not answered: %s", error)
            about = await self._known_server()
            text = texts.failed(prompt.request, str(error), markup=about.markup)
            await self.server.notify(0, (text.summary, text.body), (), self._seconds)

    def _do(self, work: Awaitable[None]) -> None:
        """Have work done beside the event loop's other work."""
        task = asyncio.ensure_future(_logged(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _logged(work: Awaitable[None]) -> None:
    try:
        await work
    except AppfwdError as error:
        log.warning("%s", error)
