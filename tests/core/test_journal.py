"""What the journal says of a change: a record for each member, or one where there are very many."""

from __future__ import annotations

import asyncio
import logging

import pytest

from appfwd.manager import log_changes
from appfwd.manager.journal import CHANGED, EACH_AT_MOST
from appfwd.model.destination import parse_destination
from appfwd.model.state import Grant, Guard
from appfwd.ports import Kept, Record


def _kept(count: int) -> list[Kept]:
    places = [parse_destination(f"10.0.{n >> 8}.{n & 255}") for n in range(count)]
    guard: Kept = (Guard(places[0]), Record("1", 0.0, 7))
    grants: list[Kept] = [(Grant("a_t", p), Record(str(n), 0.0, 0)) for n, p in enumerate(places)]
    return [guard, *grants[1:]]


def _records(caplog: pytest.LogCaptureFixture, members: list[Kept]) -> list[logging.LogRecord]:
    with caplog.at_level(logging.INFO):
        asyncio.run(log_changes("added", members))
    assert {getattr(record, "MESSAGE_ID", "") for record in caplog.records} == {CHANGED}
    return caplog.records


def test_each_has_a_record_with_fields_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    records = _records(caplog, _kept(EACH_AT_MOST))
    assert len(records) == EACH_AT_MOST
    assert records[0].getMessage() == "added: guard 1: all, out 10.0.0.0"
    assert vars(records[3])["APPFWD_DOMAIN"] == "a_t"
    assert vars(records[3])["APPFWD_DESTINATION"] == "10.0.0.3"


def test_of_very_many_one_record_says_how_many_and_whose(caplog: pytest.LogCaptureFixture) -> None:
    (record,) = _records(caplog, _kept(EACH_AT_MOST + 1))
    assert record.getMessage() == f"added at once: {EACH_AT_MOST} grants, 1 guards, by uid 0, 7"
    assert vars(record)["APPFWD_COUNT"] == str(EACH_AT_MOST + 1)
    assert vars(record)["APPFWD_UID"] == "0, 7"
