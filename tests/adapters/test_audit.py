"""AVC records from a real kernel's audit system; those of the journal have a file of their own.

A kernel without SELinux writes none itself, so a type that user space may send stands for theirs
where a record has to come all the way.
"""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from appfwd.adapters import audit
from appfwd.adapters.audit import (
    AUDIT_AVC,
    AuditRecords,
    avc_texts,
)
from tests.adapters.records import PATIENCE, TEXT, USER_AVC, Ear, message, say, shout
from tests.adapters.test_nft import own_network

RECORD = message(TEXT.encode(), AUDIT_AVC)
OTHER = message(b"audit(1.000:1): pid=1 msg='avc:  denied'", USER_AVC)


def padded(datagram: bytes) -> bytes:
    return datagram + b"\0" * (-len(datagram) % 4)


def length_only(text: bytes, kind: int = AUDIT_AVC) -> bytes:
    """Return a message that counts its payload only."""
    return message(text, kind, len(text))


READ: dict[str, tuple[bytes, list[str]]] = {
    "nothing": (b"", []),
    "one": (RECORD, [TEXT]),
    "another type": (OTHER, []),
    "two": (padded(RECORD) + RECORD, [TEXT, TEXT]),
    "one among others": (padded(OTHER) + padded(RECORD) + OTHER, [TEXT]),
    "a text that ends with zeros": (message(TEXT.encode() + b"\0\0", AUDIT_AVC), [TEXT]),
    "bytes that are no letters": (message(b"netif=\xff\xe4", AUDIT_AVC), ["netif=\ufffd\ufffd"]),
    "a length without the header": (length_only(TEXT.encode()), [TEXT]),
    "a short text so": (length_only(b"abc"), ["abc"]),
    "the last of two so": (padded(OTHER) + length_only(b"abcd"), ["abcd"]),
    "another type so": (length_only(TEXT.encode(), USER_AVC), []),
    "one of 16 bytes before an empty one": (
        message(b"0123456789abcdef", AUDIT_AVC) + message(b"", 3),
        ["0123456789abcdef"],
    ),
    "a length of nothing": (message(TEXT.encode(), AUDIT_AVC, 0), []),
    "a length within the header": (message(TEXT.encode(), AUDIT_AVC, 15), []),
    "a length beyond the end": (message(TEXT.encode(), AUDIT_AVC, len(RECORD) + 1), []),
    "a length beyond all bounds": (message(TEXT.encode(), AUDIT_AVC, 2**32 - 1), []),
    "a second one beyond the end": (padded(RECORD) + message(b"x", AUDIT_AVC, 99), [TEXT]),
    "half a header": (RECORD[:9], []),
    "a header alone": (message(b"", AUDIT_AVC), [""]),
    "rests of a header": (padded(RECORD) + b"\x10\0\0", [TEXT]),
    "the longest": (message(b"x" * 8970, AUDIT_AVC), ["x" * 8970]),
    "a longer one": (message(b"x" * 8971, AUDIT_AVC), []),
}


@pytest.mark.parametrize("name", READ)
def test_what_a_datagram_holds(name: str) -> None:
    datagram, texts = READ[name]
    assert avc_texts(datagram) == texts


def test_a_hostile_datagram_is_read_to_its_end_at_most() -> None:
    dice = random.Random(7)  # noqa: S311 - repeatable on purpose
    for _ in range(20_000):
        datagram = bytearray(padded(RECORD) * 2 + OTHER)
        for _ in range(dice.randrange(1, 6)):
            datagram[dice.choice((*range(16), dice.randrange(len(datagram))))] = dice.randrange(256)
        texts = avc_texts(bytes(datagram[: dice.randrange(len(datagram) + 1)]))
        assert sum(map(len, texts)) <= len(datagram)


def open_files() -> list[Path]:
    return sorted(Path("/proc/self/fd").iterdir())


async def received(control: socket.socket) -> bytes:
    """Return the next message that has reached the group, by another of its listeners."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.get_running_loop().sock_recv(control, 65536)


def test_a_record_of_the_kernels_comes_all_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "AUDIT_AVC", USER_AVC)

    async def story(ear: Ear) -> None:
        records = AuditRecords(ear.heard, ear.lost)
        await asyncio.to_thread(say, "appfwd test one")
        await ear.until(lambda ear: any("appfwd test one" in text for text in ear.texts))
        records.close()

    ear = Ear()
    asyncio.run(story(ear))
    (text,) = (text for text in ear.texts if "appfwd test one" in text)
    assert text.startswith("audit(")
    assert text.endswith("msg='appfwd test one'")
    assert not ear.losses


def test_a_record_of_user_space_is_not_heard() -> None:
    async def story(ear: Ear) -> None:
        records = AuditRecords(ear.heard, ear.lost)
        with audit._joined() as control:
            await asyncio.to_thread(say, "avc:  granted  { send } appfwd test two")
            while b"appfwd test two" not in await received(control):
                pass
            await asyncio.sleep(0.05)
        records.close()

    ear = Ear()
    asyncio.run(story(ear))
    assert not [text for text in ear.texts if "appfwd test two" in text]


def test_what_a_program_sends_to_the_group_is_not_heard() -> None:
    async def story(ear: Ear) -> None:
        records = AuditRecords(ear.heard, ear.lost)
        with audit._joined() as control:
            await asyncio.to_thread(shout, RECORD)
            assert await received(control) == RECORD
            await asyncio.sleep(0.05)
        records.close()

    ear = Ear()
    with own_network():
        asyncio.run(story(ear))
    assert not ear.texts


def test_a_flood_that_overruns_the_buffer_is_said_to_be_lost() -> None:
    async def story(ear: Ear) -> int:
        records = AuditRecords(ear.heard, ear.lost)
        shout(message(b"x" * 8000, AUDIT_AVC), 3_000)  # while the event loop stands still
        await ear.until(lambda ear: ear.losses)
        await asyncio.sleep(0.05)
        before = ear.losses
        with audit._joined() as control:
            shout(RECORD)
            await received(control)
            await asyncio.sleep(0.05)
        records.close()
        return before

    ear = Ear()
    with own_network():
        assert asyncio.run(story(ear)) == ear.losses == 1


def test_a_closed_subscription_hears_nothing_and_leaves_nothing_open() -> None:
    async def story(ear: Ear) -> None:
        before = open_files()
        AuditRecords(ear.heard, ear.lost).close()
        assert open_files() == before

    asyncio.run(story(Ear()))


#: asm-generic/socket.h
SO_SNDBUFFORCE = 32


class FromKernel:
    """A socket whose every message is the kernel's, or fails as ordered."""

    def __init__(self, inner: socket.socket, failures: Sequence[OSError] = ()) -> None:
        self._inner, self.failures = inner, list(failures)

    def fileno(self) -> int:
        return self._inner.fileno()

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        if self.failures:
            raise self.failures.pop()
        return self._inner.recv(size), (0, 1)

    def close(self) -> None:
        self._inner.close()


async def _from_kernel(
    monkeypatch: pytest.MonkeyPatch, ear: Ear, count: int, failures: Sequence[OSError] = ()
) -> None:
    inner, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    inner.setblocking(False)  # noqa: FBT003 - its only argument
    kernel.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)
    for _ in range(count):
        kernel.send(RECORD)
    monkeypatch.setattr(audit, "_joined", lambda: FromKernel(inner, failures))
    records = AuditRecords(ear.heard, ear.lost)
    turns = 0
    async with asyncio.timeout(PATIENCE):
        while len(ear.texts) < count:
            await asyncio.sleep(0)
            turns += 1
    assert turns >= len(ear.wakes)
    records.close()
    kernel.close()


def test_a_flood_is_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear()
    asyncio.run(_from_kernel(monkeypatch, ear, 1_000))
    assert ear.texts == [TEXT] * 1_000
    assert ear.wakes == [256, 256, 256, 232]
    assert not ear.losses


def test_a_failure_to_read_is_a_loss_and_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ear = Ear()
    asyncio.run(_from_kernel(monkeypatch, ear, 3, [OSError(12, "Cannot allocate memory")]))
    assert ear.texts == [TEXT] * 3
    assert ear.losses == 1
    assert "Cannot allocate memory" in caplog.text


@pytest.mark.parametrize(
    ("without", "answer"), [("audit_read", "PermissionError"), ("net_admin", "AuditRecords")]
)
def test_what_the_group_takes_is_one_capability(without: str, answer: str) -> None:
    """Without CAP_NET_ADMIN the buffer is smaller, and no more."""
    program = (
        "import asyncio\nfrom appfwd.adapters.audit import AuditRecords\n"
        "async def main():\n"
        "    try:\n        made = AuditRecords(print, print)\n"
        "    except OSError as error:\n        made = error\n"
        "    print(type(made).__name__)\n"
        "asyncio.run(main())"
    )
    words = ["setpriv", f"--bounding-set=-{without}", sys.executable, "-c", program]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert done.stdout == answer + "\n"
