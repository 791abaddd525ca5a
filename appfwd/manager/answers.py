"""Requests about denials: what was refused, what is asked, and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from appfwd.core.concerns import Concerns
from appfwd.core.questions import Question, scopes
from appfwd.errors import InvalidArgument, InvalidOption, shown
from appfwd.manager.changes import ENDS, end_of
from appfwd.manager.parts import PAGE, PLACE, Options, Parts, Row, destination_of
from appfwd.model.block import Block, Blocked
from appfwd.model.destination import Destination, Direction
from appfwd.model.domain import parse_domain
from appfwd.model.observation import Seen
from appfwd.model.options import check_options, direction_of, page_of
from appfwd.model.services import Service
from appfwd.model.state import Grant
from appfwd.ports import Caller

_CHOSEN = {"domain": str, **PLACE}
_SCOPE = {"scope": str}


class Answer(NamedTuple):
    """An answer as it was asked for: to which question, what it is, and for which places."""

    question: Question
    allows: bool
    places: tuple[Destination, ...]

    @property
    def domain(self) -> str:
        """The domain that the question is of."""
        return self.question.observation.domain


class Answers(Parts):
    """What is refused, asked and answered."""

    async def list_denied(self, _caller: Caller, options: Options) -> list[Row]:
        """Return what was refused, a page, each with why it is refused now."""
        check_options(options, {**_CHOSEN, **PAGE})
        page = page_of(options)
        seen = [one for one in await self._denials.history.seen() if _chosen(one, options)]
        concerns = await asyncio.to_thread(Concerns, self._reconciler.stored.state)
        held = self._asker.holds
        return [_denied_row(one, concerns, blocked=held(one.observation)) for one in seen[page]]

    async def forget_denied(self, _caller: Caller, options: Options) -> int:
        """Forget what was refused; return how many lines that were. Blocks stay."""
        check_options(options, {})
        return await self._denials.history.forget()

    async def list_pending(self, _caller: Caller, options: Options) -> list[Row]:
        """Return what is asked and not answered yet, a page, the oldest first."""
        check_options(options, {"domain": str, **PAGE})
        domain = options.get("domain")
        rows = [one.row() for one in self._asker.pending() if domain in (None, one.domain)]
        return rows[page_of(options)]

    async def answer(self, caller: Caller, identity: str, answer: str, options: Options) -> Row:
        """Answer what is asked; return what was granted or blocked.

        Raises:
            NotFound: it is not asked any more.
            AppfwdError: nothing was changed, and it can still be answered.

        """
        asked = self._asked_answer(identity, answer, options)
        with self._asker.answering(asked.question):
            number = await (
                self._allow(caller, asked, options) if asked.allows else self._block(caller, asked)
            )
        return {"answer": answer, "destination": str(asked.places[0]), "id": number}

    async def _allow(self, caller: Caller, asked: Answer, options: Options) -> str:
        self._hold_active()
        end = end_of({k: v for k, v in options.items() if k != "scope"}, self._reconciler.session)
        grant = Grant(await self._domain(asked.domain), asked.places[0])
        return await self._asker.allow(caller, asked.question, grant, end)

    async def _block(self, caller: Caller, asked: Answer) -> str:
        for one in asked.places:
            await self._asker.block(caller, Block(asked.domain, one))
        return ""

    def _asked_answer(self, identity: str, answer: str, options: Options) -> Answer:
        """Return what an answer comes to; nothing is done.

        Raises:
            NotFound: that is not asked any more.
            InvalidArgument, InvalidOption: there is no such answer.

        """
        if answer not in ("allow", "block"):
            raise InvalidArgument(f"An answer is 'allow' or 'block', not {shown(answer)}.")
        allows = answer == "allow"
        check_options(options, {**_SCOPE, **(ENDS if allows else {})})
        question = self._asker.question(identity)
        scope = str(options.get("scope", "place"))
        known: Mapping[str, tuple[Destination, ...]] = {
            name: (place,) for name, place in scopes(question.observation.destination).items()
        }
        if not allows:
            everywhere = tuple(Destination(one, None, Service()) for one in Direction)
            known = {**known, "domain": everywhere}
        if scope not in known:
            names = ", ".join(f"'{name}'" for name in known)
            raise InvalidOption(f"Option 'scope' is one of {names} here, not {shown(scope)}.")
        return Answer(question, allows, known[scope])

    def stake(self, identity: str, answer: str, options: Options) -> tuple[bool, Mapping[str, str]]:
        """Return whether an answer allows more than was asked, and what it is about.

        Raises:
            NotFound, InvalidArgument, InvalidOption: there is no such question or answer.

        """
        asked = self._asked_answer(identity, answer, options)
        place = asked.places[0]
        about = {
            "domain": asked.domain,
            "destination": str(place),
            "direction": place.direction.value,
            "answer": answer,
        }
        return asked.allows and place != asked.question.observation.destination, about

    async def register_agent(self, caller: Caller, options: Options) -> None:
        """Have the caller asked about denials, until it leaves the bus.

        Raises:
            Busy: there are too many agents.

        """
        check_options(options, {})
        self._asker.register(caller)

    async def unregister_agent(self, caller: Caller, options: Options) -> None:
        """Have the caller asked no more."""
        check_options(options, {})
        self._asker.unregister(caller.sender)

    def agent_left(self, sender: str) -> None:
        """Take note that a connection has left the bus."""
        self._asker.unregister(sender)

    async def list_blocked(self, _caller: Caller, options: Options) -> list[Row]:
        """Return what nobody is asked about again, a page."""
        check_options(options, {**_CHOSEN, **PAGE})
        page = page_of(options)
        kept = [one for one in self._asker.blocked() if _of(one, options)]
        return [_blocked_row(one) for one in kept[page]]

    async def unblock(
        self, _caller: Caller, domain: str, destination: str, options: Options
    ) -> None:
        """Ask about a place again.

        Raises:
            NotFound: it is not blocked.

        """
        place = destination_of(destination, options)
        await self._asker.unblock(Block(parse_domain(domain), place))


def _chosen(one: Seen, options: Options) -> bool:
    return _takes(one.observation.domain, one.observation.destination, options)


def _of(one: Blocked, options: Options) -> bool:
    return _takes(one.block.domain, one.block.destination, options)


def _takes(domain: str, place: Destination, options: Options) -> bool:
    if options.get("domain", domain) != domain:
        return False
    return "direction" not in options or direction_of(options) is place.direction


def _denied_row(one: Seen, concerns: Concerns, *, blocked: bool) -> Row:
    place = one.observation.destination
    return {
        "domain": one.observation.domain,
        "direction": place.direction.value,
        "destination": str(place),
        "count": one.count,
        "first": one.first,
        "last": one.last,
        "cause": concerns.cause(one.observation, unlabelled=True),
        "blocked": blocked,
    }


def _blocked_row(one: Blocked) -> Row:
    return {
        "domain": one.block.domain,
        "direction": one.block.destination.direction.value,
        "destination": str(one.block.destination),
        "at": one.at,
        "uid": one.uid,
    }
