"""Records for tests: from the kernel, from root, and in a journald beside the machine's own."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: A type of message that user space may send (linux/audit.h).
USER_AVC = 1107
HEADER = struct.Struct("=IHHII")
NETLINK_AUDIT = 9
PATIENCE = 30.0
TEXT = (
    "audit(1795391386.057:233): avc:  granted  { send } for  pid=406 "
    'comm="curl" saddr=10.9.0.1 src=40000 daddr=10.9.0.5 dest=3128 netif=eth0 '
    "scontext=system_u:system_r:mozilla_t:s0 tcontext=system_u:object_r:appfwd_seen_tcp_t:s0 "
    "tclass=packet"
)


class Ear:
    """What a subscription calls."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.wakes: list[int] = []
        self.losses = 0

    def heard(self, texts: Sequence[str]) -> None:
        assert texts
        self.texts += texts
        self.wakes.append(len(texts))

    def lost(self) -> None:
        self.losses += 1

    async def until(self, ready: Callable[[Ear], Any]) -> None:
        """Wait for what a subscription does on this event loop."""
        async with asyncio.timeout(PATIENCE):
            while not ready(self):  # noqa: ASYNC110 - the subscription is what is waited for
                await asyncio.sleep(0.001)


def message(text: bytes, kind: int, length: int | None = None) -> bytes:
    """Return a netlink message; ``length`` is what it says of itself, where that is a lie."""
    return HEADER.pack(HEADER.size + len(text) if length is None else length, kind, 0, 0, 0) + text


def say(text: str) -> None:
    """Have the kernel write a record of user space; others of its kind are written by dbus."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as made:
        made.bind((0, 0))
        made.settimeout(PATIENCE)
        payload = text.encode() + b"\0"
        flags = 1 | 4  # NLM_F_REQUEST, NLM_F_ACK
        header = HEADER.pack(HEADER.size + len(payload), USER_AVC, flags, 1, 0)
        made.sendto(header + payload, (0, 0))
        (error,) = struct.unpack_from("=i", made.recv(8192), HEADER.size)
        assert error == 0


def shout(datagram: bytes, times: int = 1) -> None:
    """Send to the group of listeners as a program of root's."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as made:
        made.bind((0, 0))
        for _ in range(times):
            made.sendto(datagram, (0, 1))


@contextmanager
def journald(place: Path) -> Iterator[Path]:
    """Have a journald that sees the kernel's log and its audit messages; yield its folder."""
    run = place / "run"
    folder, settings = run / "log" / "journal", run / "systemd" / "journald.conf.d"
    for needed in (folder, settings, run / "systemd" / "journal"):
        needed.mkdir(parents=True)
    (settings / "test.conf").write_text("[Journal]\nStorage=volatile\nAudit=keep\n")
    script = 'mount --bind "$1" /run && exec /lib/systemd/systemd-journald'
    words = ["unshare", "--mount", "sh", "-ec", script, "sh", str(run)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + PATIENCE
            while not (run / "systemd/journal/stdout").exists() or not list(folder.glob("*/*")):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
            yield folder
        finally:
            process.terminate()
