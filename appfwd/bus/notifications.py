"""A client of org.freedesktop.Notifications, on the session bus.

Anybody in the session can send us its signals; those alone are believed that come from the
connection that owns the name. https://specifications.freedesktop.org/notification-spec
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol, Self

from appfwd.bus import driver
from appfwd.bus.lib import Message, MessageBus, MessageType, Variant, connect_session
from appfwd.errors import Unavailable

_NAME, _PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
_SERVER = {"destination": _NAME, "path": _PATH, "interface": _NAME}
_RULE = f"type='signal',interface='{_NAME}',path='{_PATH}'"
_SIGNATURES = {"ActionInvoked": "us", "NotificationClosed": "uu"}
#: Seconds that a server may take; the first call may have to start it.
_PATIENCE = 25.0
#: Bytes of urgency: never critical, which some servers put before everything else.
_NORMAL = 1


class Listener(Protocol):
    """Who is told of what becomes of notifications."""

    def invoked(self, number: int, key: str) -> None:
        """Take note that an action was chosen."""
        ...

    def closed(self, number: int) -> None:
        """Take note that a notification is no more: it timed out, or was dismissed or closed."""
        ...

    def restarted(self) -> None:
        """Take note of a new server, which has none of the notifications of the one before."""
        ...


class Notifications:
    """Shows notifications through whatever server the session has."""

    def __init__(self, bus: MessageBus, listener: Listener) -> None:
        self._bus, self._listener = bus, listener
        self._owner = ""

    @classmethod
    async def connect(cls, listener: Listener) -> Self:
        """Connect to the session bus.

        Raises:
            Unavailable: there is none.

        """
        bus = await connect_session()
        made = cls(bus, listener)
        bus.add_message_handler(made._heard)
        await driver.follow_owner(bus, _NAME)
        await driver.follow(bus, _RULE)
        owner = await driver.owner_of(bus, _NAME)
        # What the bus told meanwhile of another owner is newer than its answer.
        made._owner = made._owner or owner
        return made

    async def capabilities(self) -> frozenset[str]:
        """Return what the server can do.

        Raises:
            Unavailable: there is no server.

        """
        (names,) = await self._call("GetCapabilities", "", [], "as")
        return frozenset(names)

    async def name(self) -> str:
        """Return what the server is called.

        Raises:
            Unavailable: there is no server.

        """
        name, _vendor, _version, _of_the_specification = await self._call(
            "GetServerInformation", "", [], "ssss"
        )
        return str(name)

    async def notify(
        self,
        replaces: int,
        texts: tuple[str, str],
        actions: Sequence[tuple[str, str]],
        seconds: float,
    ) -> int:
        """Show summary and body with actions (key, label); return the notification's number.

        It goes after some seconds; ``replaces`` is the number of one that it takes the place of.

        Raises:
            Unavailable: there is no server.

        """
        summary, body = texts
        listed = [part for action in actions for part in action]
        hints = {"urgency": Variant("y", _NORMAL), "category": Variant("s", "network")}
        arguments: list[Any] = ["appfwd", replaces, "security-medium", summary, body, listed, hints]
        arguments.append(int(1000 * seconds))
        answer = await self._call("Notify", "susssasa{sv}i", arguments, "u")
        return int(answer[0])

    async def close(self, number: int) -> None:
        """Take a notification away, where it is still there: some servers refuse where not."""
        with suppress(Unavailable):
            await self._call("CloseNotification", "u", [number], "")

    async def wait(self) -> None:
        """Return when the bus is lost."""
        await driver.until_lost(self._bus)

    async def _call(self, member: str, signature: str, body: list[Any], returns: str) -> list[Any]:
        message = Message(**_SERVER, member=member, signature=signature, body=body)
        try:
            # Not wait_for: its caller goes on later than what the server tells after its reply.
            async with asyncio.timeout(_PATIENCE):
                reply = await self._bus.call(message)
        except (TimeoutError, OSError, EOFError) as error:
            raise Unavailable("The notification server does not answer.") from error
        if reply is None or reply.message_type is MessageType.ERROR:
            raise Unavailable("There is no notification server in this session.")
        # A number of a server that was replaced meanwhile is another's notification by now.
        if reply.sender != self._owner or reply.signature != returns:
            raise Unavailable("The notification server was replaced, or gives no proper answer.")
        found: list[Any] = reply.body
        return found

    def _heard(self, message: Message) -> bool:
        if message.message_type is not MessageType.SIGNAL:
            return False
        changed = driver.new_owner(message)
        if changed is not None:
            if changed[0] == _NAME:
                self._changed(changed[1])
        elif self._is_servers(message):
            # In their turn, after whoever waits for a reply that came before.
            soon = asyncio.get_running_loop().call_soon
            if message.member == "ActionInvoked":
                soon(self._listener.invoked, *message.body)
            else:
                soon(self._listener.closed, message.body[0])
        return False

    def _is_servers(self, message: Message) -> bool:
        return (
            bool(self._owner)
            and message.sender == self._owner
            and message.path == _PATH
            and message.interface == _NAME
            and message.signature == _SIGNATURES.get(message.member or "")
        )

    def _changed(self, owner: str) -> None:
        before, self._owner = self._owner, owner
        if owner and owner != before:
            self._listener.restarted()
