"""What clients ask of the bus itself, and are told by it (D-Bus specification, "Message Bus").

The bus alone sends with its own name, so what comes with that name is true.
"""

from __future__ import annotations

from appfwd.bus.lib import Message, MessageBus, MessageType

BUS = "org.freedesktop.DBus"
_DRIVER = {"destination": BUS, "path": "/org/freedesktop/DBus", "interface": BUS}
_OWNERS = f"type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged'"


async def ask(bus: MessageBus, member: str, word: str) -> Message | None:
    """Return the bus's reply to a call of the bus itself that takes one string; None for an error.

    So too for the reply of anybody else, whom the bus should not have let reply.
    """
    reply = await bus.call(Message(**_DRIVER, member=member, signature="s", body=[word]))
    if reply is None or reply.sender != BUS or reply.message_type is MessageType.ERROR:
        return None
    return reply


async def user_of(bus: MessageBus, name: str) -> int | None:
    """Return the user that a connection is of; None where there is no such connection."""
    reply = await ask(bus, "GetConnectionUnixUser", name)
    return int(reply.body[0]) if reply is not None and reply.signature == "u" else None


async def follow(bus: MessageBus, rule: str) -> None:
    """Have the signals of a match rule sent to us."""
    await ask(bus, "AddMatch", rule)


async def follow_owner(bus: MessageBus, name: str) -> None:
    """Be told of every new owner of a name."""
    await follow(bus, f"{_OWNERS},arg0='{name}'")


async def follow_leaving(bus: MessageBus) -> None:
    """Be told of connections and names that are no more."""
    await follow(bus, f"{_OWNERS},arg2=''")


async def owner_of(bus: MessageBus, name: str) -> str:
    """Return the connection that owns a name; empty where none does."""
    reply = await ask(bus, "GetNameOwner", name)
    return "" if reply is None else str(reply.body[0])


def new_owner(message: Message) -> tuple[str, str] | None:
    """Return a name and its new owner, empty for none, where the bus tells of that in a message."""
    if (
        message.message_type is not MessageType.SIGNAL
        or message.sender != BUS
        or (message.interface, message.member) != (BUS, "NameOwnerChanged")
        or message.signature != "sss"
    ):
        return None
    name, _, owner = message.body
    return name, owner


async def until_lost(bus: MessageBus) -> None:
    """Return when the connection is lost."""
    try:
        await bus.wait_for_disconnect()
    except (EOFError, OSError):
        return
