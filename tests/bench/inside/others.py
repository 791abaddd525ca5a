"""The same change by others, timed: by firewalld over its bus, and by libnftables.

Each goes over one connection, or one context, that is there already. Prints the seconds of each.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import nftables  # type: ignore[import-untyped,unused-ignore]
from dbus_next import BusType, Message, MessageType
from dbus_next.aio import MessageBus

WARM_UP = 2
FIREWALLD = {
    "destination": "org.fedoraproject.FirewallD1",
    "path": "/org/fedoraproject/FirewallD1",
    "interface": "org.fedoraproject.FirewallD1.zone",
}
RULE = 'rule family="ipv4" destination address="{}" port port="{}" protocol="tcp" accept'


async def firewalld(address: str, rounds: int) -> list[float]:
    """Add rich rules to the running firewall, one after the other."""
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    took = []
    for number in range(WARM_UP + rounds):
        body = ["public", RULE.format(address, 4000 + number), 0]
        message = Message(**FIREWALLD, member="addRichRule", signature="ssi", body=body)
        begun = time.monotonic()
        reply = await bus.call(message)
        took.append(time.monotonic() - begun)
        if reply is None or reply.message_type is MessageType.ERROR:
            raise RuntimeError(reply and reply.body)
    return took[WARM_UP:]


def libnftables(address: str, rounds: int) -> Iterator[float]:
    """Add elements to a map of table `bench`, each in its own transaction."""
    context = nftables.Nftables()
    context.set_json_output(val=True)
    where = {"family": "inet", "table": "bench", "name": "places"}
    for number in range(WARM_UP + rounds):
        key = {"concat": [address, "tcp", 5000 + number]}
        command = {"add": {"element": {**where, "elem": [[key, "label"]]}}}
        begun = time.monotonic()
        code, _, error = context.cmd(json.dumps({"nftables": [command]}))
        if number >= WARM_UP:
            yield time.monotonic() - begun
        if code:
            raise RuntimeError(error)


def main(kind: str, address: str, rounds: int) -> None:
    """Measure one kind, and print it."""
    if kind == "firewalld":
        print(json.dumps(asyncio.run(firewalld(address, rounds))))
    else:
        print(json.dumps([*libnftables(address, rounds)]))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
