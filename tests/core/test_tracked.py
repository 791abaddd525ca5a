"""Sets that know what they were made from are sets like any other."""

from __future__ import annotations

import copy
import pickle

from hypothesis import given
from hypothesis import strategies as st

from appfwd.model.tracked import Tracked

SMALL = st.frozensets(st.integers(0, 9))
STEPS = st.lists(st.tuples(st.booleans(), SMALL), max_size=6)


@given(SMALL, STEPS)
def test_whatever_is_put_to_them_or_taken_away_they_are_those_of_any_set(
    start: frozenset[int], steps: list[tuple[bool, frozenset[int]]]
) -> None:
    plain, tracked = [start], [Tracked(start)]
    for more, members in steps:
        plain.append(plain[-1] | members if more else plain[-1] - members)
        tracked.append(Tracked(tracked[-1] | members if more else tracked[-1] - members))
    for one, same in zip(plain, tracked, strict=True):
        assert same == one
        assert hash(same) == hash(one)
        for other, like in zip(plain, tracked, strict=True):
            assert same - like == one - other
            assert same - other == one - other
            assert one - like == one - other
            assert (same == like) is (one == other)


@given(SMALL, SMALL)
def test_what_differs_is_told_when_the_set_before_is_gone(
    start: frozenset[int], more: frozenset[int]
) -> None:
    before: Tracked[int] | None = Tracked(start)
    assert before is not None
    after = before | more
    assert after - before == more - start
    del before
    assert after - Tracked(start) == more - start


def test_those_that_are_tracked_stay_as_they_are_and_can_be_copied() -> None:
    one = Tracked({1, 2})
    assert Tracked(one) is one
    for same in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):  # noqa: S301
        assert same == one
        assert isinstance(same, Tracked)
        assert same - one == frozenset()


@given(SMALL, SMALL)
def test_they_take_any_kind_of_set(start: frozenset[int], others: frozenset[int]) -> None:
    keys = dict.fromkeys(others).keys()
    assert Tracked(start) - keys == start - others
    assert Tracked(start) | keys == start | others
