"""Processes and sockets for tests of what runs: made-up ones, and real ones that do as told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from appfwd.adapters.processes import Labels

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
TABLES = ("tcp", "tcp6", "udp", "udp6", "icmp", "icmp6", "raw", "raw6")


def line(local: str, peer: str, state: int, inode: int) -> str:
    """Return a line of a table as the kernel writes it; ends are hexadecimal."""
    queues = "00000000:00000000 00:00000000 00000000"
    return f"   0: {local} {peer} {state:02X} {queues}   1000        0 {inode} 1 00000000 100 0\n"


class MadeUp:
    """A folder like /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process("self")

    def process(
        self,
        pid: str | int,
        domain: str = "made_t",
        *,
        state: str = "S",
        flags: int = 0x400000,
        threads: int = 1,
        comm: str = "made",
        program: str | None = "/usr/bin/made",
        namespace: int = 1,
        sockets: Sequence[int] = (),
        tables: Mapping[str, str] | None = None,
    ) -> Path:
        """Add a process; ``tables`` are those of its network namespace, without their header."""
        folder = self.root / str(pid)
        for name in ("attr", "fd", "net", "ns", "task"):
            (folder / name).mkdir(parents=True)
        fields = [state, 1, 1, 1, 0, -1, flags, *[0] * 10, threads, *[0] * 30]
        text = " ".join(map(str, fields))
        (folder / "stat").write_text(f"{pid} ({comm}) {text}\n", "utf-8")
        (folder / "attr/current").write_text(f"system_u:system_r:{domain}:s0\0", "utf-8")
        (folder / "ns/net").symlink_to(f"net:[{namespace}]")
        if program is not None:
            (folder / "exe").symlink_to(program)
        for number, inode in enumerate(sockets):
            (folder / f"fd/{number}").symlink_to(f"socket:[{inode}]")
        for name in TABLES:
            (folder / "net" / name).write_text(HEADER + (tables or {}).get(name, ""), "ascii")
        return folder

    def table(self, name: str, *lines: str) -> None:
        """Set a table of our own namespace."""
        (self.root / "self/net" / name).write_text(HEADER + "".join(lines), "ascii")


class Told(Labels):
    """Contexts as a test says, since this machine need not have SELinux."""

    def __init__(self) -> None:
        self.domains: dict[int, str] = {}
        self.sockets: dict[int, str] = {}

    def process(self, folder: int) -> bytes:
        pid = Path(f"/proc/self/fd/{folder}").readlink().name
        domain = self.domains.get(int(pid), "other_t") if pid.isdecimal() else "other_t"
        return f"system_u:system_r:{domain}:s0-s0:c0.c1023\0".encode()

    def socket(self, folder: int, name: str) -> bytes:
        inode = os.stat(name, dir_fd=folder).st_ino
        if inode not in self.sockets:
            raise PermissionError
        return f"system_u:system_r:{self.sockets[inode]}:s0\0".encode()


_CHILD = """
import ctypes, os, socket, sys, threading
kept = []
def unshared(code, ready):
    assert ctypes.CDLL(None).unshare(0x400) == 0  # CLONE_FILES
    exec(code, globals())
    ready.set()
    threading.Event().wait()
def in_thread(code):
    ready = threading.Event()
    threading.Thread(target=unshared, args=(code, ready), daemon=True).start()
    ready.wait()
for line in sys.stdin:
    exec(line.replace("\\x01", "\\n"))
    print("done", flush=True)
"""


class Child:
    """A process of this machine that runs the lines of Python that it is told."""

    def __init__(self, *before: str) -> None:
        words = [*before, sys.executable, "-c", _CHILD]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self.do("pass")

    def do(self, code: str) -> str:
        """Run a piece of code; return what it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(code.replace("\n", "\x01") + "\n")
        self._process.stdin.flush()
        said = ""
        while (part := self._process.stdout.readline()) != "done\n":
            assert part, "the child has ended"
            said += part
        return said

    def value(self, expression: str) -> Any:
        """Return what an expression is."""
        return eval(self.do(f"print(repr({expression}))"))  # noqa: S307 - of our own child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def children(labels: Told, **domains: Sequence[str]) -> Iterator[list[Child]]:
    """Have a child in each domain, by the words that stand before its command."""
    made: list[Child] = []
    try:
        for domain, before in domains.items():
            made.append(Child(*before))
            labels.domains[made[-1].pid] = domain
        yield made
    finally:
        for child in made:
            child.__exit__()
