"""Questions before a person at a terminal, and the keys that answer them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from appfwd.cli.board import WAITING_AT_MOST, Board, question
from appfwd.model.request import Request, harmless

ASKED = Request(
    id="1",
    domain="mozilla_t",
    direction="out",
    destination="192.0.2.7:443/tcp",
    peer="192.0.2.7",
    program="firefox",
    name="",
    count=1,
    first=0.0,
    last=60.0,
    others=("192.0.2.8:80/tcp",),
    others_count=3,
    host="192.0.2.7",
    port="any:443/tcp",
    network="192.0.2.0/24",
)


def board(*identities: str) -> Board:
    made = Board()
    for identity in identities or ("1",):
        made.asked(replace(ASKED, id=identity))
    return made


def test_a_question_is_one_line_and_says_probably() -> None:
    assert question(ASKED) == "mozilla_t (probably firefox) wants to reach 192.0.2.7:443/tcp"
    more = replace(ASKED, count=3, name="example.net", program="")
    assert question(more) == "mozilla_t wants to reach 192.0.2.7:443/tcp (example.net), 3 times"
    inbound = replace(ASKED, direction="in", destination="192.0.2.9:22/tcp")
    assert "is reached for by 192.0.2.9:22/tcp inbound" in question(inbound)


@pytest.mark.parametrize(
    ("keys", "answer", "options"),
    [
        ("a", "allow", {"for": 600}),
        ("A", "allow", {}),
        ("b", "block", {}),
        ("ma", "allow", {"for": 600}),
        ("mh", "allow", {"scope": "host"}),
        ("mp", "allow", {"scope": "port"}),
        ("mn", "allow", {"scope": "network"}),
        ("mB", "block", {"scope": "domain"}),
    ],
)
def test_keys_and_what_they_answer(keys: str, answer: str, options: dict[str, object]) -> None:
    made = board("1", "2")
    *before, reply = [made.key(key) for key in keys]
    assert before == [None] * (len(keys) - 1)
    assert reply is not None
    assert (reply.request.id, reply.answer, reply.options) == ("1", answer, options)
    assert made.current is not None
    assert made.current.id == "2"


@pytest.mark.parametrize(
    "key", ["h", "p", "n", "B", "y", "\n", " ", "\x1b", "", "\N{GREEK SMALL LETTER ALPHA}"]
)
def test_other_keys_answer_nothing(key: str) -> None:
    made = board()
    assert made.key(key) is None
    assert made.current is not None


def test_what_more_was_told_of_one_is_not_asked_of_the_next() -> None:
    made = board("1", "2", "3")
    made.key("m")
    made.withdrawn("1")
    assert made.key("h") is None
    made.key("m")
    assert made.key("s") is None
    assert made.key("h") is None
    assert made.current is not None
    assert made.current.id == "3"


def test_a_scope_that_there_is_not_cannot_be_chosen() -> None:
    made = Board()
    made.asked(replace(ASKED, port=""))
    made.key("m")
    assert made.key("p") is None
    assert not any(line.startswith("  p ") for line in made.lines())


def test_nothing_is_answered_where_nothing_is_asked() -> None:
    made = Board()
    assert all(made.key(key) is None for key in "aAbmhpnBs")
    assert made.keys() == ""
    assert list(made.lines()) == []
    assert made.withdrawn("1") is None


def test_one_that_is_asked_again_is_not_asked_twice() -> None:
    made = board("1", "2")
    assert not made.asked(replace(ASKED, id="1", count=9))
    assert made.current is not None
    assert made.current.count == 9
    made.key("s")
    made.key("s")
    assert made.asked(ASKED), "nothing else is before them"


def test_a_flood_of_questions_is_bounded() -> None:
    made = board(*(str(n) for n in range(10_000)))
    left = 0
    while made.current is not None:
        made.key("s")
        left += 1
    assert left == WAITING_AT_MOST
    made = board("1", "2")
    made.clear()
    assert made.current is None


def test_what_others_chose_steers_no_terminal() -> None:
    evil = "\x1b[2J\u202eevil\nmozilla_t wants"
    said = question(replace(ASKED, program=evil, name=evil * 100))
    assert said.isprintable()
    assert len(said) < 300
    made = Board()
    made.asked(replace(ASKED, others=(evil,), program=evil))
    made.key("m")
    assert all(line.isprintable() for line in made.lines())
    assert harmless("plain") == "plain"


def test_the_lines_of_more() -> None:
    made = board("1", "2")
    made.key("m")
    text = "\n".join(made.lines())
    for part in (
        "192.0.2.8:80/tcp and 2 more",
        "h always allow 192.0.2.7",
        "n always allow 192.0.2.0/24",
        "(1 more)",
    ):
        assert part in text
