"""Show a notification, and print a line of JSON for all that its sender is told of it.

Arguments: summary, body, seconds, then a key and a label for each action. It ends when the
notification is closed.
"""

import asyncio
import json
import sys

from dbus_next import Message, MessageType
from dbus_next.aio import MessageBus

NAME, PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
BUS, BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"


def tell(event: str, value: object) -> None:
    """Print what happened."""
    print(json.dumps([event, value]), flush=True)


async def main(summary: str, body: str, seconds: str, *actions: str) -> None:
    """Send it and wait for its end."""
    bus = await MessageBus().connect()
    told: asyncio.Queue[Message] = asyncio.Queue()

    def hear(message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.interface == NAME:
            told.put_nowait(message)

    bus.add_message_handler(hear)
    rule = f"type='signal',interface='{NAME}'"
    await bus.call(Message(BUS, BUS_PATH, BUS, "AddMatch", signature="s", body=[rule]))
    words = ["lab", 0, "", summary, body, list(actions), {}, int(1000 * float(seconds))]
    reply = await bus.call(
        Message(NAME, PATH, NAME, "Notify", signature="susssasa{sv}i", body=words)
    )
    assert reply is not None
    (number,) = reply.body
    tell("Notify", number)
    member = ""
    while member != "NotificationClosed":
        message = await told.get()
        if message.body[0] == number:
            member = str(message.member)
            tell(member, message.body[1])


asyncio.run(main(*sys.argv[1:]))
