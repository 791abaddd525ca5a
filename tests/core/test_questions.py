"""Which denials are asked about: coalesced, bounded, quiet after a block."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appfwd.core.questions import (
    AGAIN,
    EXPIRES,
    KEPT_AT_MOST,
    KEPT_OF_ONE,
    OPEN_AT_MOST,
    OPEN_FOR,
    OPEN_OF_ONE,
    OTHERS_SHOWN,
    QUIET,
    STALE,
    Question,
    Questions,
    id_of,
    scopes,
)
from appfwd.model.observation import Observation, Seen
from appfwd.model.request import Request
from tests.core.stories import place

NOW = 10_000.0


def observed(number: int = 5, domain: str = "a_t") -> Observation:
    return Observation(domain, place(f"10.0.{number >> 8}.{number & 255}:443/tcp"))


def denied(
    questions: Questions, number: int = 5, domain: str = "a_t", now: float = NOW
) -> Question | None:
    """Count one denial; return its question where it is opened."""
    seen = Seen(observed(number, domain), 1, now, now)
    question = questions.denied(seen, "curl", now)
    return question if question is not None and questions.opens(question, now) else None


def test_an_id_is_of_its_content() -> None:
    ids = {
        id_of(Observation(domain, place(text)))
        for domain in ("a_t", "b_t")
        for text in ("10.0.0.5:443/tcp", "10.0.0.5:443/udp", "10.0.0.6:443/tcp", "10.0.0.5")
    }
    ids.add(id_of(Observation("a_t", place("in 10.0.0.5:443/tcp"))))
    assert len(ids) == 9
    assert id_of(observed()) == id_of(observed())


def test_a_place_is_asked_about_once_however_often_it_is_tried() -> None:
    questions = Questions()
    assert denied(questions)
    assert [denied(questions, now=NOW + n) for n in range(1, 200)] == [None] * 199
    (one,) = questions.all()
    assert (one.count, one.first, one.last) == (200, NOW, NOW + 199)


def test_it_is_asked_again_while_the_program_still_tries() -> None:
    questions = Questions()
    assert denied(questions)
    assert denied(questions, now=NOW + AGAIN - 1) is None
    again = denied(questions, now=NOW + AGAIN)
    assert again is not None
    assert again.count == 3


def test_few_of_a_domain_are_open_at_once_and_each_answer_brings_the_next() -> None:
    questions = Questions()
    opened = [one for n in range(20) if (one := denied(questions, n))]
    assert len(opened) == OPEN_OF_ONE
    assert len(questions) == 20
    questions.drop(opened[0])
    (following,) = questions.following("a_t", NOW + 1)
    assert following.observation == observed(OPEN_OF_ONE)
    assert not questions.following("a_t", NOW + 1)
    late = NOW + OPEN_FOR + 1
    assert not questions.following("a_t", late), "what is not tried any more is not asked about"
    assert denied(questions, 15, now=late)


def test_few_are_open_at_once_of_all_domains() -> None:
    questions = Questions()
    opened = [one for n in range(100) if (one := denied(questions, domain=f"d{n}_t"))]
    assert len(opened) == OPEN_AT_MOST == len(questions.open(NOW))
    assert questions.open(NOW + OPEN_FOR) == []


def test_a_storm_of_one_domain_costs_few_questions_and_counts_the_rest() -> None:
    questions = Questions()
    for n in range(10_000):
        denied(questions, n)
    assert len(questions) == KEPT_OF_ONE
    request = questions.request(questions.all()[0])
    assert request.others_count == 10_000 - 1
    assert len(request.others) == OTHERS_SHOWN


def test_a_storm_of_many_domains_costs_bounded_questions() -> None:
    questions = Questions()
    for n in range(20_000):
        denied(questions, n // 100, domain=f"d{n % 100}_t")
    assert len(questions) == KEPT_AT_MOST
    assert len(questions.open(NOW)) == OPEN_AT_MOST


def test_however_full_it_is_a_domain_that_has_none_gets_one() -> None:
    questions = Questions()
    for domain in range(KEPT_AT_MOST // KEPT_OF_ONE):
        for n in range(KEPT_OF_ONE):
            denied(questions, n, domain=f"full{domain}_t")
    assert len(questions) == KEPT_AT_MOST
    opened = {one.id for one in questions.open(NOW)}
    for n in range(100):
        for number in (1, 2):
            denied(questions, number, domain=f"late{n}_t")
        assert questions.get(id_of(observed(1, f"late{n}_t")))
        assert not questions.get(id_of(observed(2, f"late{n}_t")))
    assert len(questions) == KEPT_AT_MOST
    assert opened == {one.id for one in questions.open(NOW)}
    assert opened.isdisjoint(one.id for one in questions.evicted)
    counts = Counter(one.observation.domain for one in questions.all())
    assert max(counts.values()) - min(counts[f"full{n}_t"] for n in range(16)) <= 1


def test_where_each_has_one_none_gives_it_up() -> None:
    questions = Questions()
    for n in range(KEPT_AT_MOST):
        denied(questions, 1, domain=f"d{n}_t")
        assert questions.get(id_of(observed(1, f"d{n}_t")))
    denied(questions, 1, domain="late_t")
    assert not questions.get(id_of(observed(1, "late_t")))
    assert len(questions) == KEPT_AT_MOST


def test_what_was_not_tried_for_long_makes_room() -> None:
    questions = Questions()
    for n in range(KEPT_OF_ONE):
        denied(questions, n)
    assert denied(questions, 1_000, now=NOW + STALE) is None
    assert not questions.evicted
    denied(questions, 0, now=NOW + STALE + 1)  # this one is tried still
    assert denied(questions, 1_000, now=NOW + STALE + 1)
    (gone,) = questions.evicted
    assert gone.observation == observed(1)
    assert questions.get(gone.id) is None


def test_a_question_under_way_to_its_answer_makes_no_room_and_is_not_asked() -> None:
    questions = Questions()
    for n in range(KEPT_OF_ONE):
        denied(questions, n)
    for one in questions.all():
        one.answering = True
    assert denied(questions, 1_000, now=NOW + STALE + 1) is None
    assert denied(questions, 0, now=NOW + AGAIN) is None


def test_after_a_block_the_domain_is_quiet_for_a_while_and_others_are_not() -> None:
    questions = Questions()
    first = denied(questions, 1)
    assert first
    questions.drop(first)
    questions.blocked("a_t", NOW)
    assert denied(questions, 2, now=NOW + QUIET - 1) is None
    assert denied(questions, 2, "b_t", now=NOW + QUIET - 1)
    assert denied(questions, 2, now=NOW + QUIET)


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    questions = Questions()
    first = denied(questions, 1, now=NOW + 100_000)
    assert first
    questions.blocked("a_t", NOW + 100_000)
    assert denied(questions, 1)
    assert denied(questions, 2)


def test_what_nobody_answers_expires_and_leaves_nothing() -> None:
    questions = Questions()
    denied(questions, 1)
    assert questions.expired(NOW + EXPIRES) == []
    (old,) = questions.expired(NOW + EXPIRES + 1)
    questions.drop(old)
    questions.drop(old)
    questions.expired(NOW + EXPIRES + 2)
    assert len(questions) == 0
    assert not questions._domains


@pytest.mark.parametrize(
    ("text", "wider"),
    [
        ("10.1.2.3:443/tcp", ["10.1.2.3", "any:443/tcp", "10.1.2.0/24"]),
        ("10.1.2.3:443", ["10.1.2.3", "any:443", "10.1.2.0/24"]),
        ("10.1.2.3/icmp", ["10.1.2.3", "any/icmp", "10.1.2.0/24"]),
        ("[2001:db8:1:2:3::4]:53/udp", ["2001:db8:1:2:3::4", "any:53/udp", "2001:db8:1:2::/64"]),
        ("in 10.1.2.3:22/tcp", ["10.1.2.3", "any:22/tcp", "10.1.2.0/24"]),
    ],
)
def test_the_wider_places(text: str, wider: list[str]) -> None:
    one = place(text)
    found = scopes(one)
    assert list(found) == ["place", "host", "port", "network"]
    assert [str(found[name]).replace("[", "").replace("]", "") for name in list(found)[1:]] == wider
    assert all(wide.contains(one) for wide in found.values())


def test_what_is_covered_by_an_answer() -> None:
    questions = Questions()
    for n in (1, 2, 300):
        denied(questions, n)
    denied(questions, 1, "b_t")
    held = questions.covered("a_t", [place("10.0.0.0/24")])
    assert [one.observation for one in held] == [observed(1), observed(2)]


def test_a_request_goes_over_the_bus_and_back() -> None:
    questions = Questions()
    for n in range(4):
        denied(questions, n)
    first = questions.get(id_of(observed(0)))
    assert first
    request = questions.request(first)
    assert Request.parse({**request.row(), "others": list(request.others)}) == request
    assert request.program == "curl"
    assert request.others == ("10.0.0.1:443/tcp", "10.0.0.2:443/tcp", "10.0.0.3:443/tcp")


_STEP = st.tuples(
    st.sampled_from(["deny", "drop", "block", "expire", "follow"]),
    st.integers(0, 60),
    st.sampled_from(["a_t", "b_t"]),
    st.sampled_from([0.0, 1.0, OPEN_FOR, STALE + 1, EXPIRES]),
)


@settings(max_examples=200)
@given(st.lists(_STEP, max_size=120))
def test_whatever_happens_the_bounds_hold(steps: list[tuple[str, int, str, float]]) -> None:
    questions, now = Questions(), NOW
    for what, number, domain, later in steps:
        now += later
        if what == "deny":
            denied(questions, number, domain, now)
        elif what == "block":
            questions.blocked(domain, now)
        elif what == "follow":
            questions.following(domain, now)
        else:
            some = questions.expired(now) if what == "expire" else questions.all()[:1]
            for one in some:
                questions.drop(one)
        open_ones = questions.open(now)
        assert len(open_ones) <= OPEN_AT_MOST
        for name in ("a_t", "b_t"):
            mine = [one for one in questions.all() if one.observation.domain == name]
            assert len(mine) <= KEPT_OF_ONE
            assert sum(one.observation.domain == name for one in open_ones) <= OPEN_OF_ONE
        assert {one.id for one in open_ones} <= {one.id for one in questions.all()}
        assert all(questions.get(one.id) is one for one in questions.all())
