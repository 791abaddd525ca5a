"""The grammar of destinations: what it takes, how it writes it, and how it refuses."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.errors import InvalidDestination
from appfwd.model.destination import Destination, Direction, parse_destination
from appfwd.model.state import DesiredState, Guard
from tests.core import reference
from tests.core.samples import destinations, points_of

CANONICAL = [
    "any",
    "any:53/udp",
    "any/icmp",
    "any:0-65535",
    "10.0.0.5",
    "10.0.0.5:3128",
    "10.0.0.5:3128/tcp",
    "10.0.0.0/8:80-90/tcp",
    "0.0.0.0/0",
    "10.0.0.1-10.0.0.9:443",
    "10.0.0.9/icmp",
    "10.0.0.9/gre",
    "[2001:db8::5]:443",
    "[2001:db8::/32]:443/sctp",
    "[::]",
    "[::/0]",
    "[::1-::9]/icmpv6",
    "[fe80::/10]",
]


@pytest.mark.parametrize("text", CANONICAL)
def test_canonical_text_stays_as_it_is(text: str) -> None:
    assert str(parse_destination(text)) == text


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("[2001:DB8:0:0::5]:443", "[2001:db8::5]:443"),
        ("10.0.0.0-10.0.0.255", "10.0.0.0/24"),
        ("10.0.0.5/32", "10.0.0.5"),
        ("10.0.0.5-10.0.0.5:80-80", "10.0.0.5:80"),
        ("[2001:db8::0.0.0.5]", "[2001:db8::5]"),
    ],
)
def test_other_ways_to_write_it_mean_the_same(written: str, canonical: str) -> None:
    assert parse_destination(written) == parse_destination(canonical)
    assert str(parse_destination(written)) == canonical


@given(destinations())
def test_what_is_written_is_read_back(destination: Destination) -> None:
    assert parse_destination(str(destination), destination.direction) == destination


#: (text, position from 0 where it goes wrong).
MALFORMED = [
    ("", 0),
    (" 10.0.0.5", 0),
    ("10.0.0.5 ", 8),
    ("10.0.0.5\n", 8),
    ("10.0.0.5:80\n", 11),
    ("\t", 0),
    ("10.0.0.5\x00", 8),
    ("\x1b[31m10.0.0.5", 0),
    ("'10.0.0.5'", 0),
    ('10.0.0.5"', 8),
    ("10.0.0.5;", 8),
    ("any(", 3),
    ("Any", 0),
    ("host.example:80", 0),
    ("*", 0),
    ("\u0661\u0660.0.0.5", 0),
    ("10.0.0.5:\uff18\uff10", 8),
    ("10.0.0", 0),
    ("10.0.0.256", 0),
    ("010.0.0.5", 0),
    ("10.0.0.05", 0),
    ("1", 0),
    ("-10.0.0.5", 0),
    ("+1.0.0.5", 0),
    ("10.0.0.5/24", 0),
    ("10.0.0.0/33", 9),
    ("10.0.0.0/08", 9),
    ("10.0.0.0/8/8", 9),
    ("10.0.0.0/255.0.0.0", 9),
    ("10.0.0.9-10.0.0.1", 9),
    ("10.0.0.1-10.0.0.x", 15),
    ("10.0.0.1-10.0.0.0/8", 9),
    ("10.0.0.5:", 8),
    ("10.0.0.5:http", 8),
    ("10.0.0.5:-1", 8),
    ("10.0.0.5:65536", 9),
    ("10.0.0.5:80-65536", 12),
    ("10.0.0.5:90-80", 12),
    ("10.0.0.5:080", 9),
    ("10.0.0.5:1-02", 11),
    ("10.0.0.5:123456", 14),
    ("10.0.0.5:80:90", 11),
    ("10.0.0.5/TCP", 8),
    ("10.0.0.5:80/quic", 12),
    ("10.0.0.5:80/", 11),
    ("10.0.0.5:80/tcp/udp", 15),
    ("10.0.0.5:80/icmp", 8),
    ("10.0.0.5/icmpv6", 9),
    ("[::1]/icmp", 6),
    ("2001:db8::5", 0),
    ("2001:db8::5:443", 0),
    ("[2001:db8::5", 0),
    ("[2001:db8::5]443", 13),
    ("[]", 1),
    ("[::1%eth0]", 0),
    ("[fe80::1%25eth0]:80", 0),
    ("[::ffff:10.0.0.5]:80", 1),
    ("[::ffff:0:0/96]", 1),
    ("[10.0.0.5]", 1),
    ("[2001:db8::5/32]", 1),
    ("[2001:db8::/129]", 12),
    ("[::9-::1]", 5),
    ("[1:2:3:4:5:6:7:8:9]", 1),
    ("any:80/any", 7),
    ("any\u202e:80", 3),
    ("any\u2028", 3),
]


@pytest.mark.parametrize(("text", "position"), MALFORMED)
def test_malformed_text_is_refused_where_it_goes_wrong(text: str, position: int) -> None:
    with pytest.raises(InvalidDestination) as caught:
        parse_destination(text)
    assert caught.value.position == position
    assert f"at character {position + 1}:" in str(caught.value)
    _is_fit_to_show(str(caught.value))


def _holds(condition: bool, what: object) -> None:  # noqa: FBT001 - an assertion's form
    assert condition, what


def _is_fit_to_show(message: str) -> None:
    """Hold that a message shows no control or format character, and ends as a sentence."""
    unfit = [c for c in message if unicodedata.category(c)[0] in "CZ" and c != " "]
    assert not unfit
    assert message.endswith(".")
    assert len(message) < 1100


@pytest.mark.parametrize("length", [201, 1 << 20])
def test_a_huge_text_is_refused_by_its_length(length: int) -> None:
    with pytest.raises(InvalidDestination, match=f"of {length} characters is too long") as caught:
        parse_destination("1" * length)
    assert caught.value.position == 200
    assert len(caught.value.text) == 200


@given(st.one_of(st.text(max_size=210), st.text("any0123456789abcdef.:/-[]tcpudi \n", max_size=40)))
def test_any_text_is_a_destination_or_refused_in_a_sentence(text: str) -> None:
    try:
        destination = parse_destination(text)
    except InvalidDestination as error:
        _is_fit_to_show(str(error))
        _holds(0 <= error.position <= len(text), error)
    else:
        assert parse_destination(str(destination)) == destination


@given(st.sampled_from(CANONICAL), st.integers(0, 30), st.text(max_size=2))
def test_a_canonical_text_with_a_slip_is_another_or_refused(text: str, at: int, slip: str) -> None:
    try:
        destination = parse_destination(text[:at] + slip + text[at + 1 :])
    except InvalidDestination as error:
        _is_fit_to_show(str(error))
    else:
        assert parse_destination(str(destination)) == destination


@given(destinations(), destinations())
def test_contains_is_what_the_points_say(one: Destination, other: Destination) -> None:
    """A destination contains another where no border point of either is of the other alone."""
    points = points_of(DesiredState(frozenset({Guard(one), Guard(other)})))
    expected = all(reference.covers(one, p) for p in points if reference.covers(other, p))
    assert one.contains(other) is (expected and one.direction is other.direction)


@given(destinations())
def test_rectangles_are_the_points(destination: Destination) -> None:
    rectangles = destination.rectangles()
    for point in points_of(DesiredState(frozenset({Guard(destination)}))):
        line = point.protocol * 65536 + point.port
        here = [
            r
            for r in rectangles
            if r.peer.family == point.version
            and r.peer.first <= point.address <= r.peer.last
            and r.services.first <= line <= r.services.last
        ]
        same_way = destination.direction is point.direction
        assert (len(here) if same_way else 0) == reference.covers(destination, point)


@given(st.lists(destinations(), max_size=8))
def test_listings_have_one_order(those: list[Destination]) -> None:
    """The key of the order tells any two unlike destinations apart."""
    keys = {one.sort_key() for one in those}
    assert len(keys) == len(set(those))
    order = sorted(those, key=Destination.sort_key)
    those.reverse()
    assert sorted(those, key=Destination.sort_key) == order


def test_a_destination_of_any_address_is_of_both_families() -> None:
    assert [r.peer.family for r in parse_destination("any:80/tcp").rectangles()] == [4, 6]
    assert [r.peer.family for r in parse_destination("any/icmp").rectangles()] == [4]
    assert [r.peer.family for r in parse_destination("any/icmpv6").rectangles()] == [6]
    assert parse_destination("any", Direction.IN).direction is Direction.IN
