"""An agent's side: what the daemon asks and tells, and answers to it.

Any client of the bus can send us signals. Those alone are believed that come from the connection
that owns the daemon's name, as the bus itself tells of it; what is not of its form is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from appfwd.bus import driver
from appfwd.bus.client import Client
from appfwd.bus.lib import Message, MessageBus, MessageType, connect, deep
from appfwd.bus.members import AGENT_INTERFACE, AGENT_SIGNALS, BUS_NAME, INTERFACE, PATH, SIGNALS
from appfwd.errors import AppfwdError
from appfwd.model.request import Request

log = logging.getLogger(__name__)

_SIGNATURES = {
    (interface, signal.name): signal.signature
    for interface, signals in ((AGENT_INTERFACE, AGENT_SIGNALS), (INTERFACE, SIGNALS))
    for signal in signals
}


class Listener(Protocol):
    """Who is told."""

    def asked(self, request: Request) -> None:
        """Ask a person; what is asked already, anew."""
        ...

    def withdrawn(self, identity: str, why: str) -> None:
        """Ask no longer."""
        ...

    def told(self, signal: str, body: list[Any]) -> None:
        """Take another signal of the daemon, by its name."""
        ...

    def lost(self) -> None:
        """Withdraw everything: the daemon that asked has gone."""
        ...


class Asking:
    """A registered agent; it registers again with a daemon that comes back."""

    def __init__(self, bus: MessageBus, listener: Listener) -> None:
        self._bus, self._listener = bus, listener
        self._client = Client(bus)
        self._owner = ""
        self._registering: asyncio.Task[None] | None = None
        self._handlers: Mapping[tuple[str, str], Callable[[list[Any]], None]] = {
            (AGENT_INTERFACE, "Asked"): self._asked,
            (AGENT_INTERFACE, "Withdrawn"): lambda body: listener.withdrawn(*body),
        }

    @classmethod
    async def connect(cls, listener: Listener, *signals: str) -> Self:
        """Connect to the system bus; ``signals`` of the manager are told of too.

        Raises:
            Unavailable: there is no system bus.

        """
        bus = await connect()
        made = cls(bus, listener)
        bus.add_message_handler(made._heard)
        await driver.follow_owner(bus, BUS_NAME)
        for name in signals:
            rule = f"type='signal',sender='{BUS_NAME}',interface='{INTERFACE}',member='{name}'"
            await driver.follow(bus, rule)
        return made

    async def register(self) -> None:
        """Become an agent, also of every daemon that comes later.

        Raises:
            AppfwdError: this is none, for now or as long as it may not be (NotAuthorized).

        """
        self._owner = await driver.owner_of(self._bus, BUS_NAME)
        await self._client.call("RegisterAgent", {})
        # The call may have started the daemon.
        self._owner = self._owner or await driver.owner_of(self._bus, BUS_NAME)

    async def answer(
        self, identity: str, answer: str, options: Mapping[str, object]
    ) -> dict[str, Any]:
        """Answer; return what was granted or blocked, once that is in force.

        Raises:
            AppfwdError: as the daemon says; nothing was changed.

        """
        answered: dict[str, Any] = await self._client.call(
            "Answer", identity, answer, dict(options)
        )
        return answered

    async def wait(self) -> None:
        """Return when the bus is lost."""
        await driver.until_lost(self._bus)

    def _heard(self, message: Message) -> bool:
        if message.message_type is not MessageType.SIGNAL:
            return False
        key = (message.interface or "", message.member or "")
        changed = driver.new_owner(message)
        if changed is not None:
            if changed[0] == BUS_NAME:
                self._changed(changed[1])
        elif self._is_daemons(message) and message.signature == _SIGNATURES.get(key):
            take = self._handlers.get(key)
            if take is not None:
                take(message.body)
            else:
                self._listener.told(key[1], [deep(part) for part in message.body])
        return False

    def _is_daemons(self, message: Message) -> bool:
        return bool(self._owner) and message.sender == self._owner and message.path == PATH

    def _asked(self, body: list[Any]) -> None:
        row: Any = deep(body[1])
        try:
            request = Request.parse(row)
        except AppfwdError as error:
            log.warning("what the daemon asks is of another form: %s", error)
            return
        if request.id == body[0]:
            self._listener.asked(request)

    def _changed(self, owner: str) -> None:
        """Take note of another daemon, or none; ``owner`` is its connection, or empty."""
        if owner == self._owner:
            return
        self._owner = owner
        self._listener.lost()
        if owner:
            self._registering = asyncio.ensure_future(self._register_again())

    async def _register_again(self) -> None:
        try:
            await self.register()
        except AppfwdError as error:
            log.warning("not registered as an agent: %s", error)
