"""What notifications say: nothing of others reaches markup, or the summary."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.agent.texts import ANSWERS, BACK, MORE, Text, asked, failed, more
from tests.cli.test_board import ASKED

EVIL = '<b>evil</b><img src="x"/>&amp;\n\x1b[2J\u202egnp.exe'


_TEXTS = st.one_of(st.just(EVIL), st.text())


class Tags(HTMLParser):
    """Finds the tags that a text has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.found.append(tag)


def all_of(program: str, name: str, *, markup: bool) -> list[Text]:
    request = replace(ASKED, program=program, name=name, others=(program,), count=3)
    return [
        asked(request, 2, markup=markup, actions=True),
        asked(replace(request, direction="in"), 0, markup=markup, actions=False),
        more(request, markup=markup),
        failed(request, f"The name {name!r} is wrong.", markup=markup),
    ]


def test_it_says_who_probably_and_where() -> None:
    text = asked(replace(ASKED, count=3, name="example.net"), 2, markup=True, actions=True)
    assert text.summary == "mozilla_t wants to reach 192.0.2.7:443/tcp"
    assert text.body.splitlines() == [
        "The program is probably firefox.",
        "192.0.2.7 is called example.net.",
        "Refused: 192.0.2.7:443/tcp, 3 times.",
        "2 more questions wait.",
    ]
    assert [label for _, label in text.actions] == [
        "Allow for 10 minutes",
        "Always allow",
        "Block",
        "More…",
    ]


def test_entities_are_those_that_every_server_knows() -> None:
    """Some show any other as it is."""
    text = failed(ASKED, "'a' & \"b\" <c>", markup=True)
    assert text.body == "'a' &amp; \"b\" &lt;c&gt;"


def test_inbound_names_the_peer_and_our_port() -> None:
    for peer, place in (
        ("192.0.2.9", "192.0.2.9:22/tcp"),
        ("2001:db8::9", "[2001:db8::9]:22/tcp"),
    ):
        request = replace(ASKED, direction="in", peer=peer, destination=place)
        text = asked(request, 0, markup=False, actions=True)
        assert text.summary == f"{peer} wants to reach mozilla_t at port 22/tcp"


def test_more_says_exactly_what_each_button_allows() -> None:
    text = more(ASKED, markup=False)
    for line in (
        "The whole host is 192.0.2.7.",
        "The port everywhere is any:443/tcp.",
        "The whole network is 192.0.2.0/24.",
    ):
        assert line in text.body.splitlines()
    assert "Also refused: 192.0.2.8:80/tcp, and 2 more." in text.body
    assert [word for word, _ in text.actions] == ["host", "port", "network", "block-all", BACK]
    without = more(replace(ASKED, port=""), markup=False)
    assert "port" not in [word for word, _ in without.actions]


def test_without_buttons_it_says_how_to_answer() -> None:
    text = asked(ASKED, 0, markup=True, actions=False)
    assert text.actions == ()
    assert "appfwctl watch" in text.body


def test_every_button_is_an_answer_or_turns_the_page() -> None:
    words = {w for text in all_of("x", "y", markup=True) for w, _ in text.actions}
    assert words == {*ANSWERS, MORE, BACK}
    wide = {
        word
        for word, (answer, options) in ANSWERS.items()
        if answer == "allow" and options.get("scope")
    }
    assert wide == {"host", "port", "network"}


@pytest.mark.parametrize("markup", [True, False])
@given(program=_TEXTS, name=_TEXTS)
def test_text_of_others_is_no_markup_and_steers_nothing(
    program: str, name: str, *, markup: bool
) -> None:
    for text in all_of(program, name, markup=markup):
        assert text.summary.isprintable()
        assert "evil" not in text.summary or "Not answered" in text.summary
        assert all(line.isprintable() for line in text.body.split("\n"))
        assert len(text.body) < 6 * 4 * 400
        if markup:
            assert Tags(text.body).found == []
