"""What the daemon believes of who somebody is: the bus's own word, and nobody else's."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from appfwd.bus import driver
from appfwd.bus.lib import Message, MessageBus, MessageType
from appfwd.errors import Unavailable
from tests.bus.fixtures import NOBODY
from tests.bus.peer import Refused, body_of, manager_call, to_daemon
from tests.bus.running import Daemon
from tests.bus.samples import prepare
from tests.bus.wire import Message as WireMessage
from tests.bus.wire import MessageType as WireType


class Answering:
    """A bus that replies to each call with one message, or with nothing."""

    def __init__(self, reply: Any) -> None:
        self._reply = reply

    async def call(self, _message: Any) -> Any:
        """Return it."""
        return self._reply


def _reply(sender: str, signature: str, body: list[Any]) -> Message:
    return Message(
        message_type=MessageType.METHOD_RETURN,
        sender=sender,
        reply_serial=1,
        signature=signature,
        body=body,
    )


def _user(reply: Message | None) -> int | None:
    return asyncio.run(driver.user_of(cast("MessageBus", Answering(reply)), ":1.7"))


def test_the_buss_word_is_taken() -> None:
    assert _user(_reply(driver.BUS, "u", [1000])) == 1000
    assert _user(_reply(driver.BUS, "u", [0])) == 0


@pytest.mark.parametrize(
    "reply",
    [
        None,
        _reply(":1.8", "u", [0]),
        _reply("", "u", [0]),
        _reply(driver.BUS, "s", ["0"]),
        _reply(driver.BUS, "", []),
        _reply(driver.BUS, "uu", [0, 0]),
    ],
    ids=["nothing", "another", "nobody", "a string", "empty", "two"],
)
def test_nothing_else_is(reply: Message | None) -> None:
    assert _user(reply) is None


def test_nobody_is_root_by_thousands_of_forged_replies(daemon: Daemon) -> None:
    """An accomplice answers what the daemon may be asking the bus just now: who is that?"""
    prepare(daemon)
    with daemon.world.without_polkit(), daemon.unchanged(), daemon.peer(NOBODY) as accomplice:
        for _ in range(40):
            ping = to_daemon(interface="org.freedesktop.DBus.Peer", member="Ping")
            now = accomplice.reply_to(accomplice.send(ping)).serial  # of the daemon's messages
            assert now
            for serial in range(now, now + 100):
                accomplice.send(
                    WireMessage(
                        destination="org.appfwd1",
                        message_type=WireType.METHOD_RETURN,
                        reply_serial=serial,
                        signature="u",
                        body=[0],
                    )
                )
            with daemon.peer(NOBODY) as peer:
                call = peer.send(manager_call("Down", {}))
                with pytest.raises(Refused) as caught:
                    body_of(peer.reply_to(call))
            assert caught.value.name == Unavailable.dbus_name()
