"""What runs and where it is connected, from /proc.

Sockets come from ``/proc/PID/net`` of one process in each network namespace. Netlink (inet_diag)
tells of its own namespace alone, and to enter others takes a right that the daemon shall not have.
Whose a socket is: a process holds it (a link in ``/proc/PID/fd``), but its own label is what the
kernel checks packets by, so that is asked (an extended attribute of the link's target); with socket
activation, and with setsockcreatecon(3), the two differ.

Everything here may vanish or change while it is read, and users choose names, numbers of files
and numbers of processes: what cannot be read is left out, and all is bounded. A process is held
by a handle of its folder, so a number that another process gets meanwhile is no danger.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from appfwd.errors import AppfwdError
from appfwd.model.addresses import Family
from appfwd.model.destination import Direction
from appfwd.model.domain import parse_domain
from appfwd.model.running import Connection, Endpoint, Running
from appfwd.model.services import ICMP, ICMPV6, PORT_PROTOCOLS

_PROC = Path("/proc")
#: Tables of sockets by protocol; a raw socket's protocol stands where others have their port.
_RAW = -1
_TABLES = (
    *(("tcp", 6), ("tcp6", 6), ("udp", 17), ("udp6", 17), ("udplite", 136), ("udplite6", 136)),
    *(("icmp", ICMP), ("icmp6", ICMPV6), ("raw", _RAW), ("raw6", _RAW)),
)
#: A line of one (net/ipv4/tcp_ipv4.c, get_tcp4_sock, and its like): ends, state, inode.
_HEX = rb"([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})"
_LINE = re.compile(
    rb"\s*\d+: " + _HEX + rb" " + _HEX + rb" ([0-9A-F]{2}) \S+ \S+ \S+ +\d+ +\d+ (\d+)(?: .*)?",
    re.ASCII,
)
_LISTENS = 0x0A
#: States of TCP in which there is a connection (include/net/tcp_states.h): not one that is being
#: tried, and not one that was refused. Others than TCP are "established" where they have a peer.
_CONNECTED = {1: "ESTABLISHED", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 8: "CLOSE_WAIT", 11: "CLOSING"}
_SOCKET = re.compile(r"socket:\[([0-9]{1,20})\]", re.ASCII)
_NAMESPACE = re.compile(r"net:\[([0-9]{1,20})\]", re.ASCII)
_MAPPED = 0xFFFF << 32
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD (include/linux/sched.h)
#: What is looked at, at the most.
PROCESSES_AT_MOST = 65_536
NAMESPACES_AT_MOST = 1_024
SOCKETS_AT_MOST = 200_000
LINKS_AT_MOST = 2_000_000
LINKS_OF_ONE = 65_536
THREADS_LINKS_AT_MOST = 100_000
_THREADS_ASKED = 16
_CHUNK = 1 << 16


class Labels:
    """The security contexts of processes and sockets, as the kernel tells them."""

    def process(self, folder: int) -> bytes:
        """Return the context of the process whose folder is open as ``folder``."""
        return _read(folder, "attr/current", 4096)

    def socket(self, folder: int, name: str) -> bytes:
        """Return the context of the socket that is at ``name`` in that folder."""
        # By way of our own handle: there is no getxattr that takes a folder.
        return os.getxattr(f"/proc/self/fd/{folder}/{name}", "security.selinux")


class ProcProcesses:
    """Reads /proc in a thread; whoever asks while it is read shares the next reading."""

    def __init__(self, root: Path = _PROC, labels: Labels | None = None) -> None:
        self._root, self._labels = root, labels or Labels()
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[tuple[Running, ...]] | None = None

    async def running(self) -> tuple[Running, ...]:
        """Return what runs, ordered by domain; nothing of it is older than the call."""
        if self._next is None:
            self._next = asyncio.create_task(self._read())
        return await asyncio.shield(self._next)

    async def _read(self) -> tuple[Running, ...]:
        async with self._lock:
            self._next = None  # who asks from here on is told of what is so from here on
            return await asyncio.to_thread(Look(self._root, self._labels).running)


@dataclass
class _Found:
    """What was found of a domain."""

    processes: int = 0
    programs: set[str] = field(default_factory=set)
    connections: list[Connection] = field(default_factory=list)
    complete: bool = True


@dataclass(frozen=True)
class _Socket:
    """A line of a table: a socket with a peer."""

    protocol: int
    local: Endpoint
    peer: Endpoint
    namespace: int


class Look:
    """One reading of everything."""

    def __init__(self, root: Path, labels: Labels) -> None:
        self._root, self._labels = root, labels
        self._found: dict[str, _Found] = defaultdict(_Found)
        self._namespaces: set[int] = set()
        self._listening: set[tuple[int, int, int]] = set()
        self._wanted: dict[int, _Socket] = {}
        self._rows = self._links = 0
        self._threaded: list[str] = []
        self._silent: set[str] = set()
        self._complete = True

    def running(self) -> tuple[Running, ...]:
        """Return what runs, ordered by domain."""
        pids = self._pids()
        self._read_sockets(pids)
        for pid in pids:
            if not self._ask(pid, functools.partial(self._process, pid)):
                self._complete = False
        self._ask_threads()
        return tuple(self._row(domain, found) for domain, found in sorted(self._found.items()))

    def _row(self, domain: str, found: _Found) -> Running:
        connections = sorted(found.connections, key=Connection.sort_key)
        complete = found.complete and self._complete
        programs = tuple(sorted(found.programs))
        return Running(domain, programs, found.processes, tuple(connections), complete)

    def _pids(self) -> list[str]:
        with os.scandir(self._root) as entries:
            pids = (entry.name for entry in entries if _is_number(entry.name))
            found = list(itertools.islice(pids, PROCESSES_AT_MOST + 1))
        self._complete = self._complete and len(found) <= PROCESSES_AT_MOST
        return found[:PROCESSES_AT_MOST]

    def _ask(self, pid: str, question: Callable[[int], None]) -> bool:
        """Ask a process, by a handle of its folder; tell whether it told all, or is no more."""
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            handle = os.open(self._root / pid, flags)
            try:
                question(handle)
            finally:
                os.close(handle)
        except (FileNotFoundError, ProcessLookupError):
            return True
        except (OSError, ValueError, AppfwdError):  # it does not tell, or nothing that makes sense
            return False
        return True

    # Sockets

    def _read_sockets(self, pids: list[str]) -> None:
        """Read the tables of each network namespace, our own first so that none crowds it out.

        A process that does not tell its namespace may have sockets that no table has.
        """
        for pid in ("self", *pids):
            if not self._ask(pid, self._namespace):
                self._silent.add(pid)

    def _namespace(self, folder: int) -> None:
        link = os.readlink("ns/net", dir_fd=folder)
        match = _NAMESPACE.fullmatch(link)
        if match is None:
            msg = f"no network namespace: {link}"
            raise ValueError(msg)
        number = int(match[1])
        if number in self._namespaces:
            return
        if len(self._namespaces) == NAMESPACES_AT_MOST:
            self._complete = False
            return
        self._tables(folder, number if self._namespaces else 0)
        self._namespaces.add(number)  # not where the process ended: another is asked then

    def _tables(self, folder: int, namespace: int) -> None:
        for name, protocol in _TABLES:
            try:
                handle = os.open(f"net/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                if name == "tcp":
                    raise  # no process any more; a kernel may well be without the others
                continue
            try:
                self._table(handle, protocol, namespace)
            finally:
                os.close(handle)

    def _table(self, handle: int, protocol: int, namespace: int) -> None:
        for line in itertools.islice(_lines(handle), 1, None):
            if self._rows == SOCKETS_AT_MOST:
                self._complete = False
                return
            self._rows += 1
            match = _LINE.fullmatch(line)
            if match is not None:
                self._line(match, protocol, namespace)

    def _line(self, match: re.Match[bytes], protocol: int, namespace: int) -> None:
        local, peer = _end(match[1], match[2]), _end(match[3], match[4])
        state, inode = int(match[5], 16), int(match[6])
        if protocol == _RAW:
            protocol = local.port
        if protocol not in PORT_PROTOCOLS:
            local, peer = replace(local, port=0), replace(peer, port=0)
        elif state == _LISTENS or not peer.address:
            self._listening.add((namespace, protocol, local.port))
        if state in _CONNECTED and peer.address and inode:
            self._wanted[inode] = _Socket(protocol, local, peer, namespace)

    def _direction(self, socket: _Socket) -> Direction:
        """Return who opened it, as far as can be told: peers come to a port that is listened on."""
        key = (socket.namespace, socket.protocol, socket.local.port)
        return Direction.IN if socket.local.port and key in self._listening else Direction.OUT

    # Processes

    def _process(self, pid: str, folder: int) -> None:
        state, flags, threads = _stat(folder)
        if flags & _KERNEL_THREAD or state == b"X" or (state == b"Z" and threads == 1):
            return
        domain, program = self._domain_and_program(folder)
        found = self._found[domain]
        found.processes += 1
        if program is not None:
            found.programs.add(program)
        if threads > 1:
            self._threaded.append(pid)
        try:
            whole = not self._wanted or self._sockets(folder, "fd", domain, LINKS_AT_MOST)
        except PermissionError:
            whole = False
        found.complete = found.complete and whole and pid not in self._silent

    def _domain_and_program(self, folder: int) -> tuple[str, str | None]:
        """Return both of one moment: a program that is started may change the domain."""
        for _ in range(4):
            before = self._labels.process(folder)
            program = _program(folder)
            if self._labels.process(folder) == before:
                return _domain(before), program
        return _domain(before), None

    def _sockets(self, folder: int, name: str, domain: str, links: int) -> bool:
        """Take the sockets that the folder ``name`` has links to; tell whether all were seen."""
        for seen, number in enumerate(_names(folder, name)):
            if seen == LINKS_OF_ONE or self._links >= links:
                return False
            self._links += 1
            self._link(folder, f"{name}/{number}", domain)
        return True

    def _link(self, folder: int, name: str, domain: str) -> None:
        """Take the socket that a link is to, where it is one with a peer."""
        number = _inode(folder, name)
        if number not in self._wanted:
            return
        try:
            label = self._labels.socket(folder, name)
        except OSError:  # it does not tell: then it counts as its holder's
            label = b""
        if _inode(folder, name) != number:  # closed, and another opened
            return
        socket = self._wanted.pop(number)
        ends = (socket.local, socket.peer, socket.namespace)
        connection = Connection(self._direction(socket), socket.protocol, *ends)
        self._found[_domain(label) if label else domain].connections.append(connection)

    def _ask_threads(self) -> None:
        """Look for what nobody holds yet where threads have files of their own (unshare(2))."""
        most = min(LINKS_AT_MOST, self._links + THREADS_LINKS_AT_MOST)
        for pid in self._threaded:
            if self._wanted and self._links < most:
                self._ask(pid, functools.partial(self._of_threads, pid, most))

    def _of_threads(self, pid: str, most: int, folder: int) -> None:
        domain = _domain(self._labels.process(folder))
        for thread in _names(folder, "task"):
            if thread != pid and self._links < most:
                self._sockets(folder, f"task/{thread}/fd", domain, most)


def _names(folder: int, name: str) -> Iterator[str]:
    """Yield what is in a folder within a process's own."""
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        with os.scandir(handle) as entries:
            yield from (entry.name for entry in entries)
    finally:
        os.close(handle)


def _read(folder: int, name: str, limit: int) -> bytes:
    """Return a small file; by system calls alone, since Python's own files ask for more rights."""
    handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(handle, limit)
    finally:
        os.close(handle)


def _lines(handle: int) -> Iterator[bytes]:
    """Yield whole lines, without their ends."""
    rest = b""
    while chunk := os.read(handle, _CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def _end(address: bytes, port: bytes) -> Endpoint:
    """Return an end of a socket: 32-bit words as this machine has them, of network order."""
    words = (int(address[i : i + 8], 16) for i in range(0, len(address), 8))
    value = int.from_bytes(b"".join(word.to_bytes(4, sys.byteorder) for word in words), "big")
    mapped = len(address) > 8 and value & ~0xFFFFFFFF == _MAPPED
    family = Family.IPV4 if len(address) == 8 or mapped else Family.IPV6
    return Endpoint(family, value & 0xFFFFFFFF if mapped else value, int(port, 16))


def _stat(folder: int) -> tuple[bytes, int, int]:
    """Return state, flags and number of threads (proc_pid_stat(5)).

    What stands before the last bracket is the name that a process gives itself, whatever it is.
    """
    fields = _read(folder, "stat", 4096).rpartition(b") ")[2].split()
    if len(fields) < 18:
        msg = "a state of too few fields"
        raise ValueError(msg)
    return fields[0], int(fields[6]), int(fields[17])


def _domain(context: bytes) -> str:
    """Return the type of a context. Raises ValueError, InvalidDomain."""
    parts = context.rstrip(b"\0\n").decode("ascii").split(":")
    return parse_domain(parts[2] if len(parts) > 2 else "")


def _program(folder: int) -> str | None:
    """Return the file that a process executes; None where it cannot be read.

    The first thread may have ended before others, and has none then.
    """
    threads = itertools.islice(_names(folder, "task"), _THREADS_ASKED)
    for name in itertools.chain(["exe"], (f"task/{thread}/exe" for thread in threads)):
        try:
            return _printable(os.readlink(name, dir_fd=folder))
        except OSError:
            continue
    return None


def _printable(path: str) -> str:
    """Return a path with whatever is no printable character written as an escape."""
    return "".join(c if c.isprintable() and c != "\\" else _escape(c) for c in path)


def _escape(character: str) -> str:
    octet = os.fsencode(character)[0] if "\udc80" <= character <= "\udcff" else None
    return f"\\x{octet:02x}" if octet is not None else ascii(character)[1:-1]


def _inode(folder: int, name: str) -> int:
    """Return the number of the socket that a link is to; 0 where it is to something else."""
    try:
        match = _SOCKET.fullmatch(os.readlink(name, dir_fd=folder))
    except FileNotFoundError:  # closed meanwhile
        return 0
    return int(match[1]) if match else 0


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()
