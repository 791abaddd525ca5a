"""The connection that the caller works over, so that they are warned before they cut it.

sshd tells of it in ``SSH_CONNECTION``, which sudo takes out of the environment; so those of the
processes above us are read too. Whose sockets it has is known from the nearest sshd above us.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_VARIABLE = "SSH_CONNECTION"
#: Processes above us that are looked at; there are hardly ever ten.
_ANCESTORS = 64
_LAST_PORT = 65535


@dataclass(frozen=True)
class Connection:
    """An inbound connection: the domain that serves it, and peer and our port as a destination."""

    domain: str
    destination: str


def own_connection(
    environment: Mapping[str, str] = os.environ, proc: Path = PROC, pid: int | None = None
) -> Connection | None:
    """Return the caller's own connection over ssh; None where there is none, or none is found."""
    told = environment.get(_VARIABLE)
    for process in _ancestors(proc, os.getpid() if pid is None else pid):
        if _name(process).startswith("sshd"):
            destination, domain = _destination(told or ""), _domain(process)
            return Connection(domain, destination) if domain and destination else None
        told = told or _told(process)
    return None


def _ancestors(proc: Path, pid: int) -> Iterator[Path]:
    """Yield the processes above ``pid``, the nearest first."""
    for _ in range(_ANCESTORS):
        fields = (line.partition(":") for line in _read(proc / str(pid) / "status").splitlines())
        parent = next((value.strip() for name, _, value in fields if name == "PPid"), "0")
        if not parent.isdecimal() or int(parent) == 0:
            return
        pid = int(parent)
        yield proc / str(pid)


def _name(process: Path) -> str:
    return _read(process / "comm").strip()


def _told(process: Path) -> str | None:
    for variable in _read(process / "environ").split("\0"):
        name, _, value = variable.partition("=")
        if name == _VARIABLE:
            return value
    return None


def _domain(process: Path) -> str:
    """Return the type of the process's security context; empty without SELinux."""
    parts = _read(process / "attr" / "current").strip("\0\n").split(":")
    return parts[2] if len(parts) > 2 else ""  # user:role:type, and a range where policy has them


def _destination(told: str) -> str:
    """Return ``PEER THEIR-PORT US OUR-PORT`` as a destination; empty where it is something else."""
    parts = told.split(" ")
    if len(parts) != 4 or not (parts[3].isascii() and parts[3].isdecimal()):
        return ""
    try:
        peer = ipaddress.ip_address(parts[0].partition("%")[0])
    except ValueError:
        return ""
    port = int(parts[3])
    if not 0 < port <= _LAST_PORT:
        return ""
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    shown = f"[{peer}]" if peer.version == 6 and mapped is None else str(mapped or peer)
    return f"{shown}:{port}/tcp"


def _read(path: Path) -> str:
    """Return a file's text; empty where it cannot be read: processes come and go."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
