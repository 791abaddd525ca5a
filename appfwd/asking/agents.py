"""Agents: clients of ours on the bus, which ask persons.

They get signals; nothing of theirs is called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from appfwd.errors import Busy
from appfwd.model.request import Request

log = logging.getLogger(__name__)

#: Agents that may be registered, of all users and of one.
AGENTS_AT_MOST, AGENTS_OF_ONE = 64, 8


class Voice(Protocol):
    """How agents are told."""

    def asked(self, agent: str, request: Request) -> None:
        """Have an agent, by its connection's unique name, ask."""
        ...

    def withdrawn(self, agent: str, identity: str, why: str) -> None:
        """Have an agent ask no more; ``why`` is one word."""
        ...


class Mute:
    """Tells nobody: before there is a bus."""

    def asked(self, agent: str, request: Request) -> None:
        """Tell nobody."""

    def withdrawn(self, agent: str, identity: str, why: str) -> None:
        """Tell nobody."""


@dataclass
class _Agent:
    """``shown`` are the ids of what it was asked, and not told to withdraw."""

    uid: int
    shown: set[str] = field(default_factory=set)


class Agents:
    """Who is registered, and what each was asked.

    Asked are the agents of whoever has the active local session (``active`` tells the users), and
    root's.
    """

    def __init__(self, active: Callable[[], frozenset[int]]) -> None:
        self._active = active
        self._agents: dict[str, _Agent] = {}
        self.voice: Voice = Mute()

    def add(self, sender: str, uid: int) -> None:
        """Register a connection; one that is registered stays so.

        Raises:
            Busy: there are too many agents.

        """
        if sender in self._agents:
            return
        of_one = sum(agent.uid == uid for agent in self._agents.values())
        if len(self._agents) >= AGENTS_AT_MOST or of_one >= AGENTS_OF_ONE:
            msg = "Too many agents are registered already; end one of them."
            raise Busy(msg)
        self._agents[sender] = _Agent(uid)
        log.info("an agent of user %d is registered", uid)

    def remove(self, sender: str) -> None:
        """Forget a connection, where it is registered."""
        gone = self._agents.pop(sender, None)
        if gone is not None:
            log.info("an agent of user %d has left", gone.uid)

    def audience(self) -> list[str]:
        """Return the agents that are asked now."""
        if not self._agents:
            return []
        active = self._active()
        return [s for s, agent in self._agents.items() if agent.uid == 0 or agent.uid in active]

    def ask(self, request: Request, audience: Sequence[str]) -> None:
        """Have some agents ask, also those that asked already."""
        for sender in audience:
            self._agents[sender].shown.add(request.id)
            self.voice.asked(sender, request)

    def not_shown(self, identity: str, audience: Sequence[str]) -> list[str]:
        """Return those of some agents that do not ask something yet."""
        return [sender for sender in audience if identity not in self._agents[sender].shown]

    def shown(self, identity: str) -> list[str]:
        """Return the agents that ask something."""
        return [sender for sender, agent in self._agents.items() if identity in agent.shown]

    def withdraw(self, identity: str, why: str, *, but: str = "") -> None:
        """Have all agents withdraw a question, ``but`` one, which answered it."""
        for sender, agent in self._agents.items():
            if identity in agent.shown:
                agent.shown.discard(identity)
                if sender != but:
                    self.voice.withdrawn(sender, identity, why)

    def withdraw_all(self, audience: Sequence[str]) -> None:
        """Have all agents but some withdraw whatever they ask: another session is active."""
        for sender, agent in self._agents.items():
            if sender not in audience:
                for identity in sorted(agent.shown):
                    self.voice.withdrawn(sender, identity, "session")
                agent.shown.clear()
