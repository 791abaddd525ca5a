"""What runs: the domains of processes, their programs, and where they are connected."""

from __future__ import annotations

from dataclasses import dataclass

from appfwd.model.addresses import Family, address_text
from appfwd.model.destination import Direction
from appfwd.model.services import PORT_PROTOCOLS, PROTOCOL_NAMES


@dataclass(frozen=True, order=True)
class Endpoint:
    """An end of a connection: an address as an integer, and a port (0 where there is none)."""

    family: Family
    address: int
    port: int

    @property
    def host(self) -> str:
        """The address as text."""
        return address_text(self.family, self.address)


@dataclass(frozen=True)
class Connection:
    """A live socket that has a peer.

    ``namespace`` is the inode number of a network namespace that is not the daemon's (as ``lsns``
    shows it), 0 for the daemon's own: appfwd's table labels packets there alone.
    """

    direction: Direction
    protocol: int
    local: Endpoint
    peer: Endpoint
    namespace: int = 0

    @property
    def destination(self) -> str:
        """What a grant of this very connection is for, in the grammar of destinations."""
        host = self.peer.host if self.peer.family is Family.IPV4 else f"[{self.peer.host}]"
        name = PROTOCOL_NAMES.get(self.protocol)
        if name is None:
            return host
        ours = self.local if self.direction is Direction.IN else self.peer
        return f"{host}{f':{ours.port}' if self.protocol in PORT_PROTOCOLS else ''}/{name}"

    def sort_key(self) -> tuple[int, str, int, Endpoint, Endpoint]:
        """Return a key for stable listings: own namespace first, then direction and ends."""
        return (self.namespace, self.direction.value, self.protocol, self.peer, self.local)


@dataclass(frozen=True)
class Running:
    """What runs in a domain now.

    ``programs`` are the files that its processes execute, in order, made printable; ``connections``
    are of sockets with the domain's label, whoever holds them, so a domain may have some and no
    process. ``complete`` is false where there was more to look at than is looked at.
    """

    domain: str
    programs: tuple[str, ...]
    processes: int
    connections: tuple[Connection, ...]
    complete: bool = True
