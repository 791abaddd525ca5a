"""What is compiled from the state before is what is compiled whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appfwd.core.compiler import Compiled, compile_next, compile_state
from appfwd.core.elements import Points
from appfwd.core.nft import table_commands
from appfwd.core.table import Table
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import DesiredState, Grant, Guard
from tests.core.kernelmodel import KernelModel
from tests.core.samples import DOMAINS, GONE, make_policy, policies, states
from tests.core.stories import place, state_of

_POINTS = ["10.0.0.5:443/tcp", "10.0.0.5:443", "10.0.0.6:53/udp", "[2001:db8::5]:443/tcp"]
_WIDE = ["10.0.0.5", "10.0.0.0/24:443", "10.0.0.4-10.0.0.6", "any:443/tcp", "in any:22", "any"]
_PLACES = st.sampled_from([*_POINTS, *_WIDE]).map(place)
_MEMBERS = st.one_of(
    st.builds(Guard, _PLACES), st.builds(Grant, st.sampled_from([*DOMAINS, GONE]), _PLACES)
)


def _with(state: DesiredState, member: Guard | Grant) -> DesiredState:
    """Return a state with a member where it has it not, and without it where it has."""
    if isinstance(member, Guard):
        return replace(state, guards=state.guards ^ {member})
    return replace(state, grants=state.grants ^ {member})


@settings(max_examples=60)
@given(states(), policies(), st.lists(st.lists(_MEMBERS, max_size=3), max_size=6))
def test_a_row_of_changes_comes_to_what_each_state_does(
    state: DesiredState, policy: LoadedPolicy, changes: list[list[Guard | Grant]]
) -> None:
    machine = KernelModel(policy).machine()
    compiled = compile_next(None, state, machine)
    for members in changes:
        for member in members:
            state = _with(state, member)
        before, compiled = compiled, compile_next(compiled, state, machine)
        assert compiled.artefacts() == compile_state(state, machine)
        # What is written is found by what is known to differ, and backwards by the same.
        for one, other in ((before, compiled), (compiled, before)):
            commands = table_commands(one.table, other.table)
            assert commands == table_commands(_unrelated(one.table), _unrelated(other.table))


def _unrelated(table: Table) -> Table:
    """Return a table that knows of no other."""
    points = {name: Points(labels) for name, labels in table.points.items()}
    return replace(table, points=points)


@given(states(), states(), policies(), policies())
def test_from_any_state_and_policy_to_any_other(
    old: DesiredState, new: DesiredState, before: LoadedPolicy, after: LoadedPolicy
) -> None:
    one, other = KernelModel(before).machine(), KernelModel(after).machine()
    compiled = compile_next(compile_next(None, old, one), new, other)
    assert compiled.artefacts() == compile_state(new, other)


@pytest.mark.parametrize("where", [*_POINTS, *_WIDE])
@pytest.mark.parametrize("kind", ["guard", "grant"])
def test_a_change_is_compiled_without_the_rest(where: str, kind: str) -> None:
    """Else the tests above would hold the whole against the whole."""
    machine = KernelModel(make_policy()).machine()
    state = state_of("10.0.0.0/24", grants=(("a_t", "10.0.0.7:80/tcp"),))
    member = Guard(place(where)) if kind == "guard" else Grant("b_t", place(where))
    for first, then in ((state, _with(state, member)), (_with(state, member), state)):
        before = compile_next(None, first, machine)
        assert _is_stepped(before, compile_next(before, then, machine))


def test_a_network_leaves_what_is_of_another_direction_or_family() -> None:
    machine = KernelModel(make_policy()).machine()
    state = state_of("10.0.0.0/24", "[2001:db8::/64]", "in any:22", "10.1.0.5:80/tcp")
    before = compile_next(None, state, machine)
    after = compile_next(before, _with(state, Guard(place("10.0.3.0/24"))), machine)
    kept = [name for name, held in before.table.maps.items() if after.table.maps[name] is held]
    assert sorted(map(str, kept)) == ["in_guard4", "in_guard6", "out_guard6"]
    assert before.table.points == after.table.points


def test_many_changes_at_once_are_compiled_whole() -> None:
    machine = KernelModel(make_policy()).machine()
    before = compile_next(None, state_of("10.0.0.0/24"), machine)
    after = state_of("10.0.0.0/24", *(f"10.{n}.0.0/16" for n in range(1, 60)))
    compiled = compile_next(before, after, machine)
    assert not _is_stepped(before, compiled)
    assert compiled.artefacts() == compile_state(after, machine)


def _is_stepped(before: Compiled, after: Compiled) -> bool:
    return before.labeller is after.labeller
