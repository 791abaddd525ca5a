"""Records are heard, parsed once, and no more of them than a second has room for."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from appfwd.core.avc import PacketRecord
from appfwd.errors import Unavailable
from appfwd.listening.hearing import PARSED_AT_MOST, Heard, Hearing, Lost
from tests.core.refusals import text


class Ear:
    """Hears what it is told to, while it is open."""

    def __init__(self, heard: Heard, lost: Lost) -> None:
        self.heard, self.lost, self.open = heard, lost, True

    def close(self) -> None:
        self.open = False


def test_every_taker_gets_every_record_once_parsed() -> None:
    one: list[PacketRecord] = []
    other: list[PacketRecord] = []
    hearing = Hearing(one.append, other.append)
    hearing.heard([text(serial=1), "no record", text(serial=2)[:-1] + "x", text(serial=3)])
    assert [record.serial for record in one] == [1, 3]
    assert one == other


def test_a_storm_is_parsed_to_its_bound_and_the_next_second_is_heard() -> None:
    taken: list[int] = []
    now = [7.9]
    hearing = Hearing(lambda record: taken.append(record.serial), clock=lambda: now[0])
    storm = [text()] * 999
    for _ in range(20):
        hearing.heard(storm)
    assert len(taken) == PARSED_AT_MOST
    assert hearing.skipped == 20 * 999 - PARSED_AT_MOST
    now[0] = 8.0
    hearing.heard([text(serial=77)])
    assert taken[-1] == 77


def test_it_listens_while_it_is_told_to_and_opens_one_ear() -> None:
    made: list[Ear] = []

    def ears(heard: Heard, lost: Lost) -> Ear:
        made.append(Ear(heard, lost))
        return made[-1]

    hearing = Hearing()
    hearing.listen(ears)
    hearing.listen(ears)
    (ear,) = made
    ear.lost()
    ear.lost()
    assert hearing.lost == 2
    hearing.listen(None)
    assert not ear.open
    hearing.listen(None)
    hearing.listen(ears)
    assert len(made) == 2


def test_where_nothing_can_be_heard_it_says_so_and_tries_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def deaf(_heard: Heard, _lost: Lost) -> Ear:
        raise Unavailable("There is no audit system.")

    hearing = Hearing()
    with caplog.at_level(logging.ERROR):
        hearing.listen(deaf)
    sentence = "Nothing is observed, and nobody is asked: There is no audit system."
    assert hearing.deaf == sentence
    assert sentence in caplog.text
    listen: Callable[..., None] = hearing.listen
    listen(Ear)
    assert not hearing.deaf
    hearing.listen(None)
    assert not hearing.deaf
