"""The only module that names the D-Bus library: dbus-next, or dbus-fast where it is installed."""

from __future__ import annotations

import socket
import sys
from typing import Any

from appfwd.errors import Unavailable
from appfwd.ports import Rows

# dbus-next loads GLib's bindings wherever they are installed, for an event loop that we don't use.
_MODULES: dict[str, Any] = sys.modules
_had_glib = _MODULES.setdefault("gi", None) is not None
try:
    from dbus_fast import BusType, Message, MessageFlag, MessageType, RequestNameReply, Variant
    from dbus_fast.aio import MessageBus
    from dbus_fast.auth import AuthExternal
    from dbus_fast.errors import AuthError, InvalidAddressError

    LIBRARY = "dbus-fast"
except ImportError:
    from dbus_next import (  # type: ignore[assignment,unused-ignore]
        BusType,
        Message,
        MessageFlag,
        MessageType,
        RequestNameReply,
        Variant,
    )
    from dbus_next.aio import MessageBus  # type: ignore[assignment,unused-ignore]
    from dbus_next.auth import AuthExternal  # type: ignore[assignment,unused-ignore]
    from dbus_next.errors import (  # type: ignore[assignment,unused-ignore]
        AuthError,
        InvalidAddressError,
    )

    LIBRARY = "dbus-next"
if not _had_glib:
    del _MODULES["gi"]

__all__ = [
    "LIBRARY",
    "AuthExternal",
    "BusType",
    "Message",
    "MessageBus",
    "MessageFlag",
    "MessageType",
    "RequestNameReply",
    "Variant",
    "connect",
    "connect_session",
    "plain",
    "variants",
]


class _Patient:
    """A socket whose ``send`` sends nothing where it would block.

    Both libraries take EAGAIN for the end of the connection, so whoever makes the daemon answer
    faster than the bus reads would end it. After a short write they wait until there is room.
    """

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner

    def send(self, data: memoryview) -> int:
        try:
            return self._inner.send(data)
        except BlockingIOError:
            return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def connect() -> MessageBus:
    """Connect to the system bus.

    Raises:
        Unavailable: there is none.

    """
    return await _connected(BusType.SYSTEM, "The system bus", "is dbus running?")


async def connect_session() -> MessageBus:
    """Connect to the session bus.

    Raises:
        Unavailable: there is none, or the environment names none.

    """
    return await _connected(BusType.SESSION, "The session bus", "run it in a desktop session.")


async def _connected(kind: BusType, name: str, remedy: str) -> MessageBus:
    try:
        bus: Any = await MessageBus(bus_type=kind).connect()
    except (OSError, EOFError, AuthError, InvalidAddressError) as error:
        raise Unavailable(f"{name} cannot be reached ({error}); {remedy}") from error
    bus._writer.sock = _Patient(bus._writer.sock)  # noqa: SLF001 - see _Patient
    found: MessageBus = bus
    return found


def plain(value: object) -> object:
    """Return ``value`` with variants taken off, one level of a dictionary deep.

    A variant within a variant stays one, so that checks of type refuse it.
    """
    if isinstance(value, dict):
        return {k: v.value if isinstance(v, Variant) else v for k, v in value.items()}
    return value


def deep(value: object) -> object:
    """Return ``value`` with every variant in it taken off."""
    if isinstance(value, Variant):
        return deep(value.value)
    if isinstance(value, dict):
        return {key: deep(part) for key, part in value.items()}
    if isinstance(value, list):
        return [deep(part) for part in value]
    return value


def variants(row: dict[str, object]) -> dict[str, Variant]:
    """Return ``row`` as ``a{sv}``: str, bool, int (x), float, lists of str, Rows, dictionaries."""
    return {key: _variant(value) for key, value in row.items()}


_SCALARS: dict[type, str] = {bool: "b", int: "x", float: "d", str: "s"}


def _variant(value: object) -> Variant:
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return Variant(scalar, value)
    if isinstance(value, dict):
        return Variant("a{sv}", variants(value))
    if isinstance(value, Rows):
        return Variant("aa{sv}", [variants(row) for row in value])
    if isinstance(value, list | tuple):
        return Variant("as", list(value))
    msg = f"no D-Bus type for {type(value).__name__}"
    raise TypeError(msg)
