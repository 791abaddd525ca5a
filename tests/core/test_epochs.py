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


@given(_ANY, _ANY, st.booleans())
def test_the_rules_say_which_epoch_it_is(one: int, other: int, complete: bool) -> None:  # noqa: FBT001 - drawn
    first, second = kept_rules(one, complete=complete), kept_rules(other, complete=complete)
    assert number_of(first, complete=complete) == one
    assert (first == second) is (one == other)
    if one != other:
        with pytest.raises(ValueError, match=OUTPUT_KEPT):
            number_of({**first, OUTPUT_KEPT: second[OUTPUT_KEPT]}, complete=complete)
    with pytest.raises(ValueError, match=OUTPUT_KEPT):
        number_of(first, complete=not complete)


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("name", KEPT)
def test_rules_that_are_not_of_an_epoch_are_not_ours(name: str, complete: bool) -> None:  # noqa: FBT001
    between, begun = kept_rules(0, complete=complete), kept_rules(5, complete=complete)
    assert number_of(between, complete=complete) == 0
    rule: Rule = ({"accept": None},)
    if begun[name]:
        with pytest.raises(ValueError, match=OUTPUT_KEPT):
            number_of({**begun, name: ()}, complete=complete)
    for rules in (between, begun):
        with pytest.raises(ValueError, match=OUTPUT_KEPT):
            number_of({**rules, name: (*rules[name], rule)}, complete=complete)


@pytest.mark.parametrize("complete", [False, True])
def test_between_two_epochs_no_rule_reads_or_writes_a_word(complete: bool) -> None:  # noqa: FBT001
    rules = kept_rules(0, complete=complete)
    assert rules.keys() == {*KEPT}
    assert {"goto"} == {key for one in rules.values() for rule in one for e in rule for key in e}
