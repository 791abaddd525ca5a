"""polkit: whether the sender of a message may do an action.

The subject is the sender's unique bus name (``system-bus-name``), which nobody can take over, as
they could a process id. Root is not special here: polkit decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from appfwd.bus.lib import Message, MessageBus, MessageType, Variant
from appfwd.errors import NotAuthorized, Unavailable
from appfwd.ports import Caller

_ALLOW_USER_INTERACTION = 1
#: Seconds to wait for an answer, and for one that a person is asked for.
_PATIENCE, _PATIENCE_INTERACTIVE = 20.0, 300.0


class Polkit:
    """Asks polkitd over the bus that requests come from."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus

    async def check(self, caller: Caller, action: str, details: Mapping[str, str]) -> None:
        """Return where ``caller`` may do ``action``.

        Raises:
            NotAuthorized: polkit says no, or would have to ask a person and may not.
            Unavailable: polkit does not answer; nobody is authorised then.

        """
        flags = _ALLOW_USER_INTERACTION if caller.interactive else 0
        subject = ["system-bus-name", {"name": Variant("s", caller.sender)}]
        message = Message(
            destination="org.freedesktop.PolicyKit1",
            path="/org/freedesktop/PolicyKit1/Authority",
            interface="org.freedesktop.PolicyKit1.Authority",
            member="CheckAuthorization",
            signature="(sa{sv})sa{ss}us",
            body=[subject, action, dict(details), flags, ""],
        )
        patience = _PATIENCE_INTERACTIVE if caller.interactive else _PATIENCE
        try:
            reply = await asyncio.wait_for(self._bus.call(message), patience)
        except TimeoutError:
            reply = None
        if reply is None or reply.message_type is MessageType.ERROR:
            msg = "polkit does not answer, so nobody is authorised; is polkitd installed?"
            raise Unavailable(msg)
        authorised, challenge, _ = reply.body[0]
        if not authorised:
            raise NotAuthorized(_refusal(action, asking=challenge))


def _refusal(action: str, *, asking: bool) -> str:
    if asking:
        return (
            f"You are not authorised ({action}): polkit wants an administrator's password and "
            "nobody could be asked. Run it as root, or where a polkit agent is running."
        )
    return f"You are not authorised ({action}). Run it as root, or have a polkit rule allow it."
