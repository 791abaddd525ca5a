"""The numbers of epochs, and the rules that tell them (appfwd.core.keeping)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.expressions import Rule
from appfwd.core.keeping import (
    BITS,
    KEPT,
    LAST,
    OF_BANK,
    OUTPUT_KEPT,
    kept_rules,
    number_at,
    number_of,
)


def test_numbers_rise_with_the_time_and_end_after_two_years() -> None:
    day = 86400
    times = [*range(2**20), *range(2**20, 935 * day, 64), 1000 * day]
    numbers = [number_at(seconds + 0.9) for seconds in times]
    alive = numbers[: numbers.index(0)]
    assert set(numbers[len(alive) :]) == {0}
    assert times[len(alive)] > 800 * day
    assert all(one <= other for one, other in pairwise(alive))
    assert alive[0] == 1
    assert 0 <= LAST - alive[-1] < 64 // 16
    assert (1 + len(BITS)) * OF_BANK == LAST
    for days, seconds in ((0, 1), (1, 4), (10, 32), (60, 240), (110, 1), (300, 16)):
        assert number_at(days * day + seconds) == number_at(days * day) + 1
    assert number_at(105 * day) <= OF_BANK < number_at(106 * day)


_ANY = st.integers(1, LAST) | st.integers(1, OF_BANK)


@given(_ANY, _ANY)
def test_the_rules_say_which_epoch_it_is(one: int, other: int) -> None:
    assert number_of(kept_rules(one)) == one
    assert (kept_rules(one) == kept_rules(other)) is (one == other)
    mixed = {**kept_rules(one), OUTPUT_KEPT: kept_rules(other)[OUTPUT_KEPT]}
    if one != other:
        with pytest.raises(ValueError, match=OUTPUT_KEPT):
            number_of(mixed)


@pytest.mark.parametrize("name", KEPT)
def test_rules_that_are_not_of_an_epoch_are_not_ours(name: str) -> None:
    assert number_of(kept_rules(0)) == number_of({}) == 0
    rule: Rule = ({"accept": None},)
    with pytest.raises(ValueError, match=OUTPUT_KEPT):
        number_of({**kept_rules(5), name: ()})
    with pytest.raises(ValueError, match=OUTPUT_KEPT):
        number_of({**kept_rules(0), name: (rule,)})
