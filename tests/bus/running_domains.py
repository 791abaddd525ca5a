"""What runs, for the tests' daemon: a browser, a proxy and a server, or a crowd."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

from appfwd.model.addresses import Family
from appfwd.model.destination import Direction
from appfwd.model.running import Connection, Endpoint, Running


def end(host: str, port: int) -> Endpoint:
    """Return an end of a connection."""
    address = ip_address(host)
    return Endpoint(Family(address.version), int(address), port)


def connection(
    direction: Direction, local: Endpoint, peer: Endpoint, *, protocol: int = 6, namespace: int = 0
) -> Connection:
    """Return a connection, of TCP and in our own network namespace if nothing else is said."""
    return Connection(direction, protocol, local, peer, namespace)


OUT, IN = Direction.OUT, Direction.IN
RUNNING: tuple[Running, ...] = (
    Running(
        "mozilla_t",
        ("/usr/bin/curl", "/usr/lib/firefox/firefox"),
        3,
        (
            connection(OUT, end("10.0.0.1", 40_000), end("10.0.0.5", 3128)),
            connection(OUT, end("2001:db8::1", 40_001), end("2001:db8::5", 443), protocol=17),
        ),
    ),
    Running("squid_t", (), 0, (connection(IN, end("10.0.0.1", 3128), end("10.0.0.7", 40_002)),)),
    Running("sshd_t", ("/usr/sbin/sshd",), 1, ()),
    Running(
        "unconfined_t",
        ("/opt/odd\\x1bname",),
        7,
        (
            connection(
                OUT, end("10.0.0.1", 0), end("10.0.0.9", 0), protocol=89, namespace=4_026_532_281
            ),
        ),
        complete=False,
    ),
)


class FakeProcesses:
    """Has run what the test says."""

    def __init__(self) -> None:
        self.rows: Sequence[Running] = RUNNING

    async def running(self) -> Sequence[Running]:
        """Return it, a moment later."""
        await asyncio.sleep(0)
        return self.rows

    def crowd(self, domains: int, connections: int, programs: int) -> None:
        """Have many domains, each with so much."""
        peer = end("10.0.0.5", 443)
        many = tuple(connection(OUT, end("10.0.0.1", 1 + n), peer) for n in range(connections))
        names = tuple(f"/usr/bin/p{n:05}" for n in range(programs))
        self.rows = [Running(f"d{n:05}_t", names, 1, many) for n in range(domains)]
