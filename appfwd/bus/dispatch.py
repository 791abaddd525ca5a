"""From messages to the manager and back: signatures, authorisation, errors.

Every call passes here and nowhere else: its signature is held against the members, its polkit
action is checked with the sender's bus name as subject, and only then is it handed on. Only our
own errors, with their own sentence, reach a caller.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from appfwd.bus.lib import Message, MessageFlag, MessageType, Variant, plain, variants
from appfwd.bus.members import (
    INTERFACE,
    METHODS,
    PATH,
    PROPERTIES,
    PROPERTY_ACTION,
    Method,
    introspection,
)
from appfwd.errors import AppfwdError, Busy
from appfwd.manager import Manager
from appfwd.ports import Authority, Caller

log = logging.getLogger(__name__)

#: Calls that one client may have under way at once.
CALLS_AT_MOST = 1024
#: Clients whose user is remembered.
_KNOWN_AT_MOST = 1024

_PROPERTIES = "org.freedesktop.DBus.Properties"
_INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
_PEER = "org.freedesktop.DBus.Peer"
_BY_NAME = {method.name: method for method in METHODS}
_KINDS = {prop.name: prop.kind for prop in PROPERTIES}
_ERROR = "org.freedesktop.DBus.Error."

Send = Callable[[Message], Awaitable[Any]]
UidOf = Callable[[str], Awaitable[int]]


class _BusError(Exception):
    """A call that D-Bus itself has an error name for."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = _ERROR + name


class Dispatcher:
    """Handles the method calls that reach our object."""

    def __init__(self, manager: Manager, authority: Authority, send: Send, uid_of: UidOf) -> None:
        self._manager, self._authority = manager, authority
        self._send, self._uid_of = send, uid_of
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: Counter[str] = Counter()
        #: The users of clients. The bus gives no unique name twice, so none gets another.
        self._users: dict[str, int] = {}

    def handle(self, message: Message) -> bool:
        """Take a message from the bus; tell whether it was ours to answer."""
        if message.message_type is not MessageType.METHOD_CALL:
            return False
        task = asyncio.create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _answer(self, message: Message) -> None:
        sender = message.sender or ""
        self._under_way[sender] += 1
        try:
            reply = await self._reply(message)
        finally:
            self._under_way[sender] -= 1
            if not self._under_way[sender]:
                del self._under_way[sender]
        if not message.flags & MessageFlag.NO_REPLY_EXPECTED:
            await self._send(reply)

    async def _reply(self, message: Message) -> Message:
        try:
            signature, body = await self._call(message)
            return Message.new_method_return(message, signature, body)
        except AppfwdError as error:
            return Message.new_error(message, error.dbus_name(), str(error))
        except _BusError as error:
            return Message.new_error(message, error.name, str(error))
        except Exception:  # nothing raw leaves the daemon
            log.exception("a request failed in an unforeseen way")
            text = "The request failed in an unforeseen way; the journal of appfwd has details."
            return Message.new_error(message, AppfwdError.dbus_name(), text)

    async def _call(self, message: Message) -> tuple[str, list[Any]]:
        interface, member, path = message.interface, message.member, message.path
        if interface == _PEER and member == "Ping":
            return "", []
        if interface == _INTROSPECTABLE and member == "Introspect":
            return "s", [_node(path)]
        if path != PATH:
            raise _BusError("UnknownObject", "There is no such object; ours is /org/appfwd1.")
        if self._under_way[message.sender or ""] > CALLS_AT_MOST:
            msg = f"You have {CALLS_AT_MOST} calls under way already; wait for some to end."
            raise Busy(msg)
        if interface == _PROPERTIES:
            return await self._property(message)
        method = _BY_NAME.get(member)
        if method is None or interface not in (INTERFACE, None):
            raise _BusError("UnknownMethod", "org.appfwd1.Manager has no such method.")
        _check_signature(message, method.signature)
        body = [plain(part) for part in message.body]
        action, details = await self._needed(message, method, body)
        caller = await self._authorised(message, action, details)
        result = await self._manage(method, caller, body)
        if method.name == "RegisterAgent":
            await self._hold_there(caller.sender)
        return method.result, result

    async def _needed(
        self, message: Message, method: Method, body: Sequence[Any]
    ) -> tuple[str, Mapping[str, str]]:
        """Return the action that a call needs, and what it is about.

        Raises:
            AppfwdError: the call cannot be made; the caller may at least ask, and so may know it.

        """
        if not method.wider:
            return method.action, {}
        try:
            wide, about = self._manager.stake(*body)
        except AppfwdError:
            await self._authorised(message, method.action, {})
            raise
        return (method.wider if wide else method.action), about

    async def _hold_there(self, sender: str) -> None:
        """Hold that an agent did not leave the bus before it was registered.

        Nobody would say so afterwards.

        Raises:
            Unavailable: it did.

        """
        try:
            await self._uid_of(sender)
        except AppfwdError:
            self._manager.agent_left(sender)
            raise

    async def _authorised(
        self, message: Message, action: str, details: Mapping[str, str]
    ) -> Caller:
        sender = message.sender or ""
        interactive = bool(message.flags & MessageFlag.ALLOW_INTERACTIVE_AUTHORIZATION)
        caller = Caller(sender, await self._user_of(sender), interactive)
        await self._authority.check(caller, action, details)
        return caller

    async def _user_of(self, sender: str) -> int:
        if sender not in self._users:
            uid = await self._uid_of(sender)
            if len(self._users) >= _KNOWN_AT_MOST:
                self._users.clear()
            self._users[sender] = uid
        return self._users[sender]

    async def _manage(self, method: Method, caller: Caller, body: Sequence[Any]) -> list[Any]:
        value = await _HANDLERS[method.name](self._manager, caller, *body)
        if method.result == "a{sv}":
            return [variants(value)]
        if method.result == "aa{sv}":
            return [[variants(row) for row in value]]
        return [value] if method.result else []

    async def _property(self, message: Message) -> tuple[str, list[Any]]:
        member = message.member
        if member == "Set":
            raise _BusError("PropertyReadOnly", "Every property of org.appfwd1 is read-only.")
        if member not in ("Get", "GetAll"):
            raise _BusError("UnknownMethod", "org.freedesktop.DBus.Properties has no such method.")
        _check_signature(message, "ss" if member == "Get" else "s")
        if message.body[0] not in (INTERFACE, ""):
            raise _BusError("UnknownInterface", "The properties are of org.appfwd1.Manager.")
        await self._authorised(message, PROPERTY_ACTION, {})
        values = {
            name: Variant(_KINDS[name], value) for name, value in self._manager.properties().items()
        }
        if member == "GetAll":
            return "a{sv}", [values]
        if message.body[1] not in values:
            raise _BusError("UnknownProperty", "org.appfwd1.Manager has no such property.")
        return "v", [values[message.body[1]]]


Handler = Callable[..., Awaitable[Any]]

_HANDLERS: Mapping[str, Handler] = {
    "Grant": Manager.grant,
    "Revoke": Manager.revoke,
    "Guard": Manager.guard,
    "Unguard": Manager.unguard,
    "Fence": Manager.fence,
    "Unfence": Manager.unfence,
    "List": Manager.list_entries,
    "Explain": Manager.explain,
    "GetRules": Manager.get_rules,
    "Who": Manager.who,
    "GetBaseline": Manager.get_baseline,
    "ListTypes": Manager.list_types,
    "ListObserved": Manager.list_observed,
    "ListDomains": Manager.list_domains,
    "ListDenied": Manager.list_denied,
    "ForgetDenied": Manager.forget_denied,
    "ListPending": Manager.list_pending,
    "Answer": Manager.answer,
    "ListBlocked": Manager.list_blocked,
    "Unblock": Manager.unblock,
    "RegisterAgent": Manager.register_agent,
    "UnregisterAgent": Manager.unregister_agent,
    "AcceptObserved": Manager.accept_observed,
    "ForgetObserved": Manager.forget_observed,
    "Preview": Manager.preview,
    "Plan": Manager.plan,
    "Apply": Manager.apply,
    "Export": Manager.export,
    "SetBaseline": Manager.set_baseline,
    "Confirm": Manager.confirm,
    "SetBridge": Manager.set_bridge,
    "Up": Manager.up,
    "Down": Manager.down,
}


def _check_signature(message: Message, signature: str) -> None:
    if message.signature != signature:
        text = f"{message.member} takes the signature '{signature}'."
        raise _BusError("InvalidArgs", text)


def _node(path: str | None) -> str:
    """Return introspection for our object, or the way to it for the nodes above."""
    if path == PATH:
        return introspection()
    above = "/" if path == "/" else f"{path}/"
    child = PATH.removeprefix(above).split("/")[0] if PATH.startswith(above) else ""
    return f'<node><node name="{child}"/></node>\n' if child else "<node/>\n"
