"""What notifications say: nothing of others reaches markup, or the summary."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.agent.texts import ANSWERS, BACK, CLICK, MORE, About, Text, failed, page
from tests.cli.test_board import ASKED

EVIL = '<b>evil</b><img src="x"/>&amp;\n\x1b[2J\u202egnp.exe'


PLAIN, MARKUP = About(markup=False, actions=True), About(markup=True, actions=True)
FEW = PLAIN._replace(few=True)
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
    about = About(markup, actions=True)
    return [
        page(request, 0, 2, about),
        page(replace(request, direction="in"), 0, 0, about._replace(actions=False)),
        page(request, 1, 0, about),
        page(request, 2, 0, about._replace(few=True)),
        failed(request, f"The name {name!r} is wrong.", markup=markup),
    ]


def test_it_says_who_probably_and_where() -> None:
    text = page(replace(ASKED, count=3, name="example.net"), 0, 2, MARKUP)
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
        text = page(request, 0, 0, PLAIN)
        assert text.summary == f"{peer} wants to reach mozilla_t at port 22/tcp"


def test_more_says_exactly_what_each_button_allows() -> None:
    text = page(ASKED, 1, 0, PLAIN)
    for line in (
        "The whole host is 192.0.2.7.",
        "The port everywhere is any:443/tcp.",
        "The whole network is 192.0.2.0/24.",
    ):
        assert line in text.body.splitlines()
    assert "Also refused: 192.0.2.8:80/tcp, and 2 more." in text.body
    assert [word for word, _ in text.actions] == ["host", "port", "network", "block-all", BACK]
    without = page(replace(ASKED, port=""), 1, 0, PLAIN)
    assert "port" not in [word for word, _ in without.actions]


@pytest.mark.parametrize("less", [{}, {"port": ""}, {"host": "", "port": "", "network": ""}])
def test_of_a_server_that_draws_three_every_answer_is_among_the_first_three(
    less: dict[str, str],
) -> None:
    """And a click on the rest turns the page, until the first one comes again."""
    request = replace(ASKED, **less)  # type: ignore[arg-type]
    all_at_once = {w for n in range(2) for w, _ in page(request, n, 0, PLAIN).actions}
    found: set[str] = set()
    number = 0
    while not number or page(request, number, 0, FEW) != page(request, 0, 0, FEW):
        words = [word for word, _ in page(request, number, 0, FEW).actions]
        assert words[-1] == CLICK
        found |= {*words[:-1][:3]}
        number += 1
    assert found | {MORE, BACK} == all_at_once
    assert number in (2, 3)


def test_without_buttons_it_says_how_to_answer() -> None:
    text = page(ASKED, 0, 0, About(markup=True, actions=False))
    assert text.actions == ()
    assert "appfwctl watch" in text.body


def test_every_button_is_an_answer_or_turns_the_page() -> None:
    words = {w for text in all_of("x", "y", markup=True) for w, _ in text.actions}
    assert words == {*ANSWERS, MORE, BACK, CLICK}
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
