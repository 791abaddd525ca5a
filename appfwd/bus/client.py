"""The client's side: call a method of the daemon, get plain values or one of our errors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from appfwd.bus.lib import (
    Message,
    MessageBus,
    MessageFlag,
    MessageType,
    Variant,
    connect,
    deep,
)
from appfwd.bus.members import BUS_NAME, INTERFACE, METHODS, PATH
from appfwd.errors import (
    AppfwdError,
    Busy,
    InvalidArgument,
    SelinuxDisabled,
    Unavailable,
    by_dbus_name,
    shown,
)

_SIGNATURES = {method.name: method.signature for method in METHODS}
#: Errors of the bus itself, and of systemd where it could not start the daemon.
_NOT_OURS = "org.freedesktop."
_KINDS: dict[type, str] = {str: "s", int: "i", float: "d", bool: "b"}
#: A change may cost a policy load, and others may be before it (seconds).
PATIENCE = 300.0


class Client:
    """A connection to the daemon."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus

    @classmethod
    async def connect(cls) -> Client:
        """Connect to the system bus.

        Raises:
            Unavailable: there is none.

        """
        return cls(await connect())

    async def call(self, method: str, *arguments: object) -> Any:
        """Call ``method``; dictionaries of plain values become ``a{sv}``.

        Raises:
            AppfwdError: the daemon's own error, or Unavailable where there is no daemon.

        """
        body = [_options(a) if isinstance(a, dict) else a for a in arguments]
        return await self._call(INTERFACE, method, _SIGNATURES[method], body)

    async def properties(self) -> dict[str, Any]:
        """Return the daemon's properties.

        Raises:
            AppfwdError: as for call.

        """
        interface = "org.freedesktop.DBus.Properties"
        values: dict[str, Any] = await self._call(interface, "GetAll", "s", [INTERFACE])
        return values

    async def _call(self, interface: str, member: str, signature: str, body: list[object]) -> Any:
        message = Message(
            destination=BUS_NAME,
            path=PATH,
            interface=interface,
            member=member,
            signature=signature,
            body=body,
            flags=MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION,
        )
        _hold_text(body)
        try:
            reply = await asyncio.wait_for(self._bus.call(message), PATIENCE)
        except (OSError, EOFError) as error:
            msg = f"The bus closed the connection ({error}); was the message too long for it?"
            raise Unavailable(msg) from error
        except TimeoutError:
            msg = f"The daemon did not answer within {PATIENCE:.0f} s; 'systemctl status appfwd'."
            raise Busy(msg) from None
        if reply is None:
            msg = "The bus closed the connection."
            raise Unavailable(msg)
        if reply.message_type is MessageType.ERROR:
            raise _error(reply.error_name or "", reply.body)
        return deep(reply.body[0]) if reply.body else None


def _hold_text(body: list[object]) -> None:
    """Hold that strings can be sent: words of a command line may be of any bytes.

    Raises:
        InvalidArgument: one is not.

    """
    for part in body:
        if isinstance(part, str):
            try:
                part.encode()
            except UnicodeEncodeError:
                msg = f"{shown(part)} is not UTF-8."
                raise InvalidArgument(msg) from None
        elif isinstance(part, list):
            _hold_text(part)
        elif isinstance(part, dict):
            _hold_text([value.value for value in part.values()])


def _options(options: dict[str, object]) -> dict[str, Variant]:
    return {key: Variant(_KINDS[type(value)], value) for key, value in options.items()}


def _error(name: str, body: list[object]) -> AppfwdError:
    text = str(body[0]) if body else name
    kind = by_dbus_name(name)
    if kind is not None:
        error = kind.__new__(kind)
        Exception.__init__(error, text)
        return error
    if name.startswith(_NOT_OURS) and not Path("/sys/fs/selinux/enforce").exists():
        return SelinuxDisabled(
            "SELinux is off on this machine, so appfwd does not run: it needs a kernel with "
            "SELinux and a loaded policy ('sestatus' tells; on Debian see selinux-activate(8))."
        )
    if name == "org.freedesktop.DBus.Error.AccessDenied":
        return Unavailable(f"The bus refused the call: {text}")
    if name.startswith(_NOT_OURS):
        return Unavailable(
            f"The daemon does not answer ({text}). Start it with 'systemctl start appfwd'; "
            "'journalctl -u appfwd' tells why it stopped."
        )
    return AppfwdError(text)
