"""polkit: whether the sender of a message may do an action.

The subject is the sender's unique bus name (``system-bus-name``), which nobody can take over, as
they could a process id. It is not asked about root, whom polkitd authorises before it looks at a
rule (check_authorization_sync in polkitbackendinteractiveauthority.c): all that it could do is be
missing when root needs the firewall.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from appfwd.bus.lib import Message, MessageBus, MessageType, Variant
from appfwd.errors import Busy, NotAuthorized, Unavailable
from appfwd.ports import Caller

#: By the bus's own word, which has it of the kernel (SO_PEERCRED).
_ROOT = 0
_ALLOW_USER_INTERACTION = 1
#: Seconds to wait for an answer, and for one that a person is asked for.
_PATIENCE, _PATIENCE_INTERACTIVE = 20.0, 300.0
#: Questions under way at once, without and with a person. The bus lets a connection wait for 128
#: replies (max_replies_per_connection), so both together stay below that.
_QUESTIONS_AT_MOST, _PERSONS_AT_MOST = 64, 48
#: Questions to persons that one user may have under way.
_PERSONS_OF_ONE = 8


class Polkit:
    """Asks polkitd over the bus that requests come from."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._free = asyncio.Semaphore(_QUESTIONS_AT_MOST)
        self._persons: Counter[int] = Counter()

    async def check(self, caller: Caller, action: str, details: Mapping[str, str]) -> None:
        """Return where ``caller`` may do ``action``; root may do everything.

        A person is asked only where polkit says that it takes one, so that nobody who lets
        questions stand unanswered holds up those who need none.

        Raises:
            NotAuthorized: polkit says no, or would have to ask a person and may not.
            Unavailable: polkit does not answer; nobody but root is authorised then.
            Busy: too many persons are being asked already.

        """
        if caller.uid == _ROOT:
            return
        async with self._free:
            authorised, challenge = await self._ask(caller, action, details, 0, _PATIENCE)
        if challenge and caller.interactive and not authorised:
            authorised, challenge = await self._ask_person(caller, action, details)
        if not authorised:
            raise NotAuthorized(_refusal(action, asking=challenge))

    async def _ask_person(
        self, caller: Caller, action: str, details: Mapping[str, str]
    ) -> tuple[bool, bool]:
        uid, flags = caller.uid, _ALLOW_USER_INTERACTION
        if self._persons[uid] >= _PERSONS_OF_ONE or self._persons.total() >= _PERSONS_AT_MOST:
            msg = "Too many requests wait for a password already; answer those first."
            raise Busy(msg)
        self._persons[uid] += 1
        try:
            return await self._ask(caller, action, details, flags, _PATIENCE_INTERACTIVE)
        finally:
            self._persons[uid] -= 1
            if not self._persons[uid]:
                del self._persons[uid]

    async def _ask(
        self, caller: Caller, action: str, details: Mapping[str, str], flags: int, patience: float
    ) -> tuple[bool, bool]:
        """Return whether the caller is authorised, and whether asking a person may change that."""
        subject = ["system-bus-name", {"name": Variant("s", caller.sender)}]
        message = Message(
            destination="org.freedesktop.PolicyKit1",
            path="/org/freedesktop/PolicyKit1/Authority",
            interface="org.freedesktop.PolicyKit1.Authority",
            member="CheckAuthorization",
            signature="(sa{sv})sa{ss}us",
            body=[subject, action, dict(details), flags, ""],
        )
        try:
            reply = await asyncio.wait_for(self._bus.call(message), patience)
        except TimeoutError:
            reply = None
        if (
            reply is None
            or reply.message_type is not MessageType.METHOD_RETURN
            or reply.signature != "(bba{ss})"
        ):
            msg = "polkit does not answer, so nobody but root is authorised; is polkitd installed?"
            raise Unavailable(msg)
        authorised, challenge, _ = reply.body[0]
        return authorised, challenge


def _refusal(action: str, *, asking: bool) -> str:
    if asking:
        return (
            f"You are not authorised ({action}): polkit wants an administrator's password and "
            "nobody could be asked. Run it as root, or where a polkit agent is running."
        )
    return f"You are not authorised ({action}). Run it as root, or have a polkit rule allow it."
