"""AVC records from a real journal, for where the kernel's audit messages cannot be had."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from appfwd.adapters import audit
from appfwd.adapters.audit import JournalRecords, audit_records, journal_text
from appfwd.errors import Unavailable
from tests.adapters.records import PATIENCE, TEXT, USER_AVC, Ear, journald, say


def test_a_record_goes_to_the_parser_as_the_kernel_wrote_it() -> None:
    """What the journal has of a record is that record again."""
    assert journal_text(PRINTED) == TEXT
    assert journal_text(AUDITED) == TEXT


PRINTED: dict[str, Any] = {
    "_TRANSPORT": "kernel",
    "SYSLOG_FACILITY": 0,
    "MESSAGE": f"audit: type=1400 {TEXT}",
}
AUDITED: dict[str, Any] = {
    "_TRANSPORT": "audit",
    "SYSLOG_FACILITY": 4,
    "_AUDIT_TYPE": "1400",
    "_AUDIT_ID": "233",
    "_SOURCE_REALTIME_TIMESTAMP": 1795391386057000,
    "MESSAGE": f"AVC {TEXT.partition(': ')[2]}",
}
NO_RECORDS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a type of user space, printed": PRINTED | {"MESSAGE": f"audit: type=1107 {TEXT}"},
    "a type of user space": AUDITED | {"_AUDIT_TYPE": "1107"},
    "what a program wrote to /dev/kmsg": PRINTED | {"SYSLOG_FACILITY": 1},
    "a line of another part of the kernel": PRINTED | {"MESSAGE": f"x: audit: type=1400 {TEXT}"},
    "a line of another transport": PRINTED | {"_TRANSPORT": "syslog"},
    "a line that is no AVC": PRINTED | {"MESSAGE": "audit: type=1400 audit(1.000:1): x"},
    "a message twice": PRINTED | {"MESSAGE": [f"audit: type=1400 {TEXT}"] * 2},
    "no number": {k: v for k, v in AUDITED.items() if k != "_AUDIT_ID"},
    "a time of no sense": AUDITED | {"_SOURCE_REALTIME_TIMESTAMP": b"x"},
}


@pytest.mark.parametrize("entry", NO_RECORDS.values(), ids=NO_RECORDS)
def test_what_is_no_record_in_the_journal(entry: dict[str, Any]) -> None:
    assert journal_text(entry) is None


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with journald(tmp_path) as made:
        yield made


def forge(line: str) -> None:
    """Write a line to the kernel's log as a program of root's."""
    Path("/dev/kmsg").write_text(f"<5>{line}")


def test_the_journal_has_each_record_once_and_no_forged_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel prints it, and journald hears of it too."""
    monkeypatch.setattr(audit, "AUDIT_AVC", USER_AVC)

    async def story(ear: Ear) -> None:
        say("avc: before")
        await asyncio.sleep(0.3)
        records = JournalRecords(ear.heard, ear.lost, folder)
        forge(f"audit: type={USER_AVC} {TEXT}")
        for number in range(3):
            say(f"avc: test {number}")
        await ear.until(lambda ear: any("test 2" in text for text in ear.texts))
        await asyncio.sleep(0.3)
        records.close()

    ear = Ear()
    asyncio.run(story(ear))
    ours = [text for text in ear.texts if "avc: test" in text]
    assert [text.rpartition("=")[2] for text in ours] == [f"'avc: test {n}'" for n in range(3)]
    assert not [text for text in ear.texts if "before" in text or "mozilla_t" in text]
    assert all(text.startswith("audit(") for text in ours)


class Entries:
    """A journal of so many entries; its file descriptor is ready at once."""

    def __init__(self, entries: Sequence[dict[str, Any]]) -> None:
        self._entries = list(entries)
        self._ready = os.eventfd(1)
        self.failing = False

    def fileno(self) -> int:
        return self._ready

    def process(self) -> None:
        if self.failing:
            self.failing = False
            raise OSError(5, "Input/output error")
        os.eventfd_write(self._ready, 1)
        os.eventfd_read(self._ready)

    def get_next(self) -> dict[str, Any]:
        return self._entries.pop(0) if self._entries else {}

    def left(self) -> bool:
        return bool(self._entries)

    def close(self) -> None:
        os.close(self._ready)


def _numbered(entry: dict[str, Any], number: int) -> dict[str, Any]:
    changed = entry | {"MESSAGE": entry["MESSAGE"].replace(":233)", f":{number})")}
    return changed | {"_AUDIT_ID": str(number)} if "_AUDIT_ID" in entry else changed


async def _read(monkeypatch: pytest.MonkeyPatch, ear: Ear, entries: Entries) -> None:
    monkeypatch.setattr(audit, "_opened", lambda _folder: entries)
    records = JournalRecords(ear.heard, ear.lost)
    for _ in range(round(PATIENCE / 0.01)):
        if not entries.left():
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # the last of them are told of a moment later
    records.close()


def test_a_flood_in_the_journal_is_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear()
    both = (_numbered(kind, n) for n in range(5_000) for kind in (PRINTED, AUDITED))
    asyncio.run(_read(monkeypatch, ear, Entries(list(both))))
    assert len(ear.texts) == len(set(ear.texts)) == 5_000
    assert max(ear.wakes) <= 256
    assert not ear.losses


@pytest.mark.parametrize(
    "line",
    [
        "kauditd_printk_skb: 17 callbacks suppressed",
        "audit: audit_lost=5 audit_rate_limit=0 audit_backlog_limit=64",
    ],
)
def test_what_the_kernel_did_not_print_is_said_to_be_lost(
    monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    ear = Ear()
    entries = Entries([PRINTED | {"MESSAGE": line}, PRINTED, PRINTED | {"MESSAGE": f"x {line}"}])
    asyncio.run(_read(monkeypatch, ear, entries))
    assert ear.losses == 1
    assert ear.texts == [TEXT]


def test_a_journal_that_cannot_be_read_is_a_loss_and_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ear = Ear()
    entries = Entries([PRINTED])
    entries.failing = True
    asyncio.run(_read(monkeypatch, ear, entries))
    assert ear.texts == [TEXT]
    assert ear.losses == 1
    assert "Input/output error" in caplog.text


def _refuse(*_arguments: Any) -> Any:
    raise PermissionError(1, "Operation not permitted")


async def _chosen() -> str:
    made = audit_records(Ear().heard, Ear().lost)
    made.close()
    return type(made).__name__


def test_the_kernel_comes_first(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert asyncio.run(_chosen()) == "AuditRecords"
    assert "hearing AVC records from the kernel" in caplog.text


def test_the_journal_comes_where_the_kernel_refuses(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = audit._opened
    monkeypatch.setattr(audit, "_joined", _refuse)
    monkeypatch.setattr(audit, "_opened", lambda _folder: opened(folder))
    assert asyncio.run(_chosen()) == "JournalRecords"
    assert "from the journal, since the kernel refuses" in caplog.text


def test_where_neither_is_to_be_had_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_joined", _refuse)
    monkeypatch.setattr(audit, "journal", None)
    with pytest.raises(Unavailable, match=r"not permitted.*not installed.*CAP_AUDIT_READ"):
        asyncio.run(_chosen())


def test_a_machine_without_a_journal_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty(Entries):
        def has_runtime_files(self) -> bool:
            return False

        has_persistent_files = has_runtime_files

    monkeypatch.setattr(audit, "_joined", _refuse)
    monkeypatch.setattr(vars(audit)["journal"], "Reader", lambda **_arguments: Empty([]))
    with pytest.raises(Unavailable, match="no files of a journal"):
        asyncio.run(_chosen())
