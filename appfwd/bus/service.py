"""The daemon's place on the bus: connection, name, calls in, signals out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from appfwd.bus import driver
from appfwd.bus.dispatch import Dispatcher
from appfwd.bus.lib import (
    Message,
    MessageBus,
    RequestNameReply,
    Variant,
    connect,
    variants,
)
from appfwd.bus.members import (
    AGENT_INTERFACE,
    AGENT_SIGNALS,
    BUS_NAME,
    INTERFACE,
    PATH,
    PROPERTIES,
    SIGNALS,
)
from appfwd.bus.polkit import Polkit
from appfwd.errors import Unavailable
from appfwd.listening.denials import Batch
from appfwd.manager import Manager, entry_row
from appfwd.model.observation import Observation
from appfwd.model.request import Request
from appfwd.ports import Kept
from appfwd.turns import in_turns

_PROPERTIES = "org.freedesktop.DBus.Properties"
#: Denials that one signal tells of, of which there are 20 in a second at the most.
DENIED_AT_ONCE = 64
#: Guards, grants and fences of one change each of which has a signal of its own: a thousand take
#: some 0.3 s, and whoever made the change waits for them.
EACH_AT_MOST = 1000
_SIGNATURES = {signal.name: signal.signature for signal in SIGNALS}
_AGENT_SIGNATURES = {signal.name: signal.signature for signal in AGENT_SIGNALS}


class Service:
    """Serves a manager on the system bus."""

    def __init__(self, bus: MessageBus, manager: Manager) -> None:
        self._bus, self._manager = bus, manager
        self._told = manager.properties()
        self._dispatcher = Dispatcher(manager, Polkit(bus), self._send, self._uid_of)
        bus.add_message_handler(self._dispatcher.handle)
        bus.add_message_handler(self._on_left)

    @classmethod
    async def connect(cls, manager: Manager) -> Service:
        """Connect and take the bus name.

        Raises:
            Unavailable: there is no bus, or the name is taken or refused.

        """
        bus = await connect()
        service = cls(bus, manager)
        await driver.follow_leaving(bus)
        reply = await bus.request_name(BUS_NAME)
        if reply is not RequestNameReply.PRIMARY_OWNER:
            msg = f"The bus name {BUS_NAME} is taken; is another appfwd running?"
            raise Unavailable(msg)
        return service

    async def wait(self) -> None:
        """Return when the connection is lost."""
        await driver.until_lost(self._bus)

    async def announce(self, came: Sequence[Kept], went: Sequence[Kept]) -> None:
        """Signal what came into the stored state and went from it; of very many how many."""
        if len(came) + len(went) > EACH_AT_MOST:
            self.emit("ManyChanged", len(came), len(went))
        else:
            await self._announce_each("Removed", went)
            await self._announce_each("Added", came)
        self.announce_properties()

    async def _announce_each(self, name: str, members: Sequence[Kept]) -> None:
        ends = self._manager.ends()
        async for member, record in in_turns(members):
            row = entry_row(member, record, None, ends.get(member))
            self.emit(name, record.id, variants(row))

    def announce_properties(self) -> None:
        """Signal the properties that differ from what was signalled last."""
        now = self._manager.properties()
        kinds = {prop.name: prop.kind for prop in PROPERTIES}
        changed = {
            name: Variant(kinds[name], value)
            for name, value in now.items()
            if value != self._told[name]
        }
        self._told = now
        if changed:
            body: list[object] = [INTERFACE, changed, []]
            self._signal(_PROPERTIES, "PropertiesChanged", "sa{sv}as", body)

    def observed(self, new: Sequence[Observation]) -> None:
        """Signal unlabelled traffic that was never seen before."""
        self.emit("Observed", [variants(_place_row(one)) for one in new])

    def denied(self, batch: Batch) -> None:
        """Signal what was refused: places, how often, and the program that ran then."""
        rows = [
            variants({**_place_row(denial.observation), "count": t.count, "program": t.program})
            for denial, t in batch[:DENIED_AT_ONCE]
        ]
        self.emit("Denied", rows)

    def asked(self, agent: str, request: Request) -> None:
        """Have an agent ask."""
        self._tell(agent, "Asked", request.id, variants(request.row()))

    def withdrawn(self, agent: str, identity: str, why: str) -> None:
        """Have an agent ask no more."""
        self._tell(agent, "Withdrawn", identity, why)

    def reverted(self, what: str) -> None:
        """Signal that a trial went back; ``what`` is a sentence."""
        self.emit("Reverted", what)

    def repaired(self, what: Mapping[str, object]) -> None:
        """Signal what was made right after others had changed the policy.

        ``what`` holds ``text`` (a sentence), ``types_added`` and ``types_removed`` (lists of packet
        types), ``labels_added`` and ``labels_removed`` (numbers of map elements).
        """
        self.emit("Repaired", variants(dict(what)))

    def emit(self, name: str, *body: object) -> None:
        """Send one of our signals."""
        self._signal(INTERFACE, name, _SIGNATURES[name], list(body))

    def _signal(self, interface: str, name: str, signature: str, body: list[object]) -> None:
        message = Message.new_signal(PATH, interface, name, signature, body)
        asyncio.ensure_future(self._send(message))  # noqa: RUF006 - order is kept by the library

    def _tell(self, agent: str, name: str, *body: object) -> None:
        """Send a signal to one connection. One that is gone, or reads nothing, holds nobody up."""
        signature = _AGENT_SIGNATURES[name]
        message = Message.new_signal(PATH, AGENT_INTERFACE, name, signature, list(body))
        message.destination = agent
        asyncio.ensure_future(self._send(message))  # noqa: RUF006 - order is kept by the library

    def _on_left(self, message: Message) -> bool:
        """Take note of connections that leave the bus: agents may be among them."""
        match driver.new_owner(message):
            case (name, ""):
                self._manager.agent_left(name)
        return False

    async def _send(self, message: Message) -> None:
        await self._bus.send(message)

    async def _uid_of(self, sender: str) -> int:
        uid = await driver.user_of(self._bus, sender)
        if uid is None:
            msg = "The caller has left the bus."
            raise Unavailable(msg)
        return uid


def _place_row(one: Observation) -> dict[str, object]:
    place = one.destination
    return {
        "domain": one.domain,
        "direction": place.direction.value,
        "destination": str(place),
    }
