"""The kernel's side of the shell on a model kernel: order, checks between steps, recovery."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appfwd.errors import (
    NotExclusive,
    PolicyLoadFailed,
    PolicyUnsupported,
    TableFailed,
    VerifyFailed,
)
from appfwd.kernel import Kernel
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.slots import is_slot
from appfwd.model.state import Bridge, DesiredState
from tests.core import reference
from tests.core.fakes import FakeKernel
from tests.core.kernelmodel import KernelModel
from tests.core.samples import DOMAINS, make_policy, points_of, policies, states
from tests.core.stories import state_of

GUARDED = state_of("10.0.0.5", grants=(("a_t", "10.0.0.5"),))
ONLY_A = "appfwd_only_a_t_packet_t"


class Killed(BaseException):
    """The daemon's process ends here."""


def _make(machine: FakeKernel, state: DesiredState) -> bool:
    return asyncio.run(Kernel(machine.adapters()).make(state))


def _killer(survives: int) -> Callable[[str], None]:
    """Return what lets ``survives`` operations that write happen, and ends the process then."""
    left = [survives]

    def before(operation: str) -> None:
        if operation.split(maxsplit=1)[0] in ("install", "table", "remove"):
            if not left[0]:
                raise Killed
            left[0] -= 1

    return before


@settings(max_examples=20)
@given(states(), states())
def test_a_daemon_killed_before_any_step_leaves_what_the_next_one_mends(
    old: DesiredState, new: DesiredState
) -> None:
    for survives in range(4):
        machine = FakeKernel(make_policy())
        _make(machine, old)
        machine.faults.before = _killer(survives)
        with suppress(Killed):
            _make(machine, new)
        machine.faults.before = lambda _operation: None
        _make(machine, new)
        assert _make(machine, new) is False


@settings(max_examples=20)
@given(states(bridge=Bridge.OPEN), states(), policies(), st.data())
def test_what_the_bridge_hid_counts_once_it_is_closed(
    old: DesiredState, new: DesiredState, policy: LoadedPolicy, data: st.DataObject
) -> None:
    """While it is open the query may not see who else may use unlabelled packets."""
    machine = FakeKernel(policy)
    machine.model.optimizes = True
    _make(machine, old)
    _make(machine, new)
    assert _make(machine, new) is False
    view = machine.model.view()
    for to in data.draw(st.lists(st.sampled_from(points_of(new)), max_size=4)):
        for domain in DOMAINS:
            assert view.allowed(domain, to) == reference.allowed(new, policy, domain, to)


def test_the_same_state_again_writes_nothing() -> None:
    machine = FakeKernel(make_policy())
    assert _make(machine, GUARDED) is True
    machine.faults.calls.clear()
    assert _make(machine, GUARDED) is False
    assert set(machine.faults.calls) == {"query", "list"}


def test_a_table_that_others_changed_is_made_anew() -> None:
    machine = FakeKernel(make_policy())
    _make(machine, GUARDED)
    machine.model.nft.foreign = [{"counter": {"name": "theirs"}}]
    assert _make(machine, GUARDED) is True
    assert machine.model.nft.foreign == []
    assert _make(machine, GUARDED) is False


def test_an_element_deleted_behind_our_back_is_put_back() -> None:
    machine = FakeKernel(make_policy())
    _make(machine, GUARDED)
    before = machine.model.copy()
    machine.model.nft.elements["out_guard4"].clear()
    assert _make(machine, GUARDED) is True
    assert machine.model == before


def test_a_culprit_is_found_before_the_table_names_the_type() -> None:
    machine = FakeKernel(make_policy())
    machine.culprits = {ONLY_A: Rights(send=frozenset({"b_t"}))}
    with pytest.raises(NotExclusive, match="b_t may send"):
        _make(machine, GUARDED)
    assert not machine.model.nft.exists


def test_what_the_kernel_withholds_is_found() -> None:
    machine = FakeKernel(make_policy())
    machine.withheld = frozenset({"recv"})
    with pytest.raises(VerifyFailed, match=f"right to recv on {ONLY_A}"):
        _make(machine, GUARDED)


def _in_a_row(machine: FakeKernel, *states: DesiredState, between: Callable[[], None]) -> None:
    """Bring a machine to states, each known to be the one before the next."""
    kernel = Kernel(machine.adapters())

    async def story() -> None:
        before = None
        for state in states:
            await kernel.make(state, before)
            before = state
            between()

    asyncio.run(story())


def test_the_kernel_is_asked_about_a_type_once_a_load() -> None:
    """A type may have hundreds of users."""
    machine = FakeKernel(make_policy())
    more = state_of("10.0.0.5", "10.0.0.6", grants=(("a_t", "10.0.0.5"),))
    _in_a_row(machine, GUARDED, more, GUARDED, between=lambda: machine.asked.append(("", "")))
    turns = "".join("|" if one == ("", "") else "." for one in machine.asked).split("|")
    assert len(turns[0]) > 0
    assert turns[2] == ""
    assert len(machine.asked) == len(set(machine.asked)) + 2


def test_after_a_commit_of_booleans_it_is_asked_anew() -> None:
    machine = FakeKernel(make_policy())

    def commit() -> None:
        machine.loads += 1
        machine.withheld = frozenset({"recv"})

    with pytest.raises(VerifyFailed, match=f"right to recv on {ONLY_A}"):
        _in_a_row(machine, GUARDED, replace(GUARDED, settings=GUARDED.settings), between=commit)


def test_a_change_reads_the_table_once_after_writing_it() -> None:
    machine = FakeKernel(make_policy())
    _make(machine, GUARDED)
    machine.faults.calls.clear()
    guards = state_of("10.0.0.5", "10.0.0.6", grants=(("a_t", "10.0.0.5"),))
    _in_a_row(machine, GUARDED, guards, between=lambda: machine.faults.calls.append("|"))
    calls = [one.split(maxsplit=1)[0] for one in machine.faults.calls if one != "query"]
    assert " ".join(calls).endswith("| table shape maps |")


POINT, MORE_POINTS = "10.0.0.5:443/tcp", ("10.0.0.6:443/tcp", "10.0.0.6:80/tcp")


def _points(
    machine: FakeKernel,
    more: DesiredState,
    write: Callable[[], None] = lambda: None,
    at: str = "get",
) -> str:
    """Guard a point, and then more; return what the latter did, and call ``write`` at a step."""
    _make(machine, state_of(POINT))

    def start() -> None:
        machine.faults.calls.append("|")
        machine.faults.before = lambda operation: write() if operation == at else None

    _in_a_row(machine, state_of(POINT), more, between=start)
    assert _make(machine, more) is False
    calls = [one.split(maxsplit=1)[0] for one in machine.faults.calls if one != "query"]
    return " ".join(calls).split("|")[1].strip()


MORE = state_of(POINT, *MORE_POINTS)
GRANTED = state_of(POINT, grants=(("a_t", POINT),))


def test_points_are_read_back_without_the_table() -> None:
    assert _points(FakeKernel(make_policy()), MORE) == "table get"


def test_of_a_new_label_the_table_is_read_without_its_elements() -> None:
    machine = FakeKernel(make_policy())
    _make(machine, GRANTED)  # its type is in the policy from now on
    assert _points(machine, GRANTED) == "table shape get"


def test_a_network_is_read_back_with_its_map() -> None:
    machine = FakeKernel(make_policy())
    assert _points(machine, state_of(POINT, "10.1.0.0/16")) == "table shape maps"
    # Where the map comes to hold other addresses, a rule is another (appfwd.core.spans).
    for other, done in (("10.1.0.0/16:80/tcp", "table maps"), ("10.2.0.0/15", "table shape maps")):
        again = FakeKernel(make_policy())
        states = (
            state_of(POINT, "10.1.0.0/16:443/tcp"),
            state_of(POINT, "10.1.0.0/16:443/tcp", other),
        )
        _make(again, states[0])
        _in_a_row(again, *states, between=again.faults.calls.clear)
        _in_a_row(again, *states[::-1], between=lambda: again.faults.calls.append("|"))  # noqa: B023
        assert " ".join(again.faults.calls).endswith(f"| {done} |")


APART = state_of("10.0.0.0/24", grants=(("a_t", POINT), ("b_t", "10.0.0.7:80/tcp")))
TOGETHER = state_of("10.0.0.0/24", grants=(("a_t", POINT), ("b_t", POINT)))


def _together(machine: FakeKernel, also: Callable[[], None] = lambda: None) -> list[str]:
    """Bring two domains that are enrolled to one place; return what that did."""

    def start() -> None:
        machine.faults.calls.append("|")
        also()

    _in_a_row(machine, APART, TOGETHER, between=start)
    calls = [one.split(maxsplit=1)[0] for one in machine.faults.calls]
    assert _make(machine, TOGETHER) is False
    return " ".join(calls).split("|")[1].split()


def test_an_audience_of_enrolled_domains_costs_a_commit_and_no_question_to_the_policy() -> None:
    assert _together(FakeKernel(make_policy())) == ["booleans", "table", "shape", "get"]


def test_of_a_commit_only_the_slots_that_it_was_for_are_asked_about_anew() -> None:
    machine = FakeKernel(make_policy())
    states = (state_of("10.0.0.0/24", grants=tuple((d, POINT) for d in DOMAINS)), APART, TOGETHER)
    _in_a_row(machine, *states, between=lambda: machine.asked.append(("", "")))
    *_, last, end = (n for n, one in enumerate(machine.asked) if one == ("", ""))
    asked = machine.asked[last + 1 : end]
    (slot,) = {name for _, name in asked}
    assert is_slot(slot)
    # Who was not let in is asked about, too.
    assert {domain for domain, _ in asked} == {*DOMAINS, "kernel_t", "appfwd_t"}


def test_what_comes_between_a_commit_and_the_last_load_is_seen() -> None:
    machine = FakeKernel(make_policy())

    def load() -> None:
        machine.loads += 1

    machine.faults.before = lambda operation: load() if operation == "booleans" else None
    assert "query" in _together(machine)


def test_a_boolean_that_does_not_do_what_it_should_is_found() -> None:
    machine = FakeKernel(make_policy())

    def break_it() -> None:
        machine.set_booleans = lambda values: None  # type: ignore[method-assign]  # noqa: ARG005

    with pytest.raises(VerifyFailed):
        _together(machine, break_it)


def test_a_commit_that_is_refused_leaves_the_table() -> None:
    machine = FakeKernel(make_policy())

    def refuse(operation: str) -> None:
        if operation == "booleans":
            raise PolicyLoadFailed("no")

    machine.faults.before = refuse
    with pytest.raises(PolicyLoadFailed):
        _together(machine)
    assert _make(machine, APART) is False


def test_a_map_that_is_not_as_it_was_written_is_mended() -> None:
    machine = FakeKernel(make_policy())
    left = ["once"]

    def lose() -> None:
        if left:
            left.clear()
            machine.model.nft.elements["out_guard4"].popitem()

    assert "list" in _points(machine, state_of(POINT, "10.1.0.0/16"), lose, "maps")


@pytest.mark.parametrize("both", ["point get", "point shape", "object shape"])
def test_what_is_not_as_it_was_written_is_mended(both: str) -> None:
    what, at = both.split()
    machine = FakeKernel(make_policy())
    _make(machine, GRANTED)
    left = ["once"]

    def lose() -> None:
        if left:
            left.clear()
            nft = machine.model.nft
            spoilt = nft.elements["out_guard_exact4"] if what == "point" else nft.objects
            spoilt.popitem()

    assert "list" in _points(machine, GRANTED, lose, at)


@pytest.mark.parametrize("spoil", ["elements", "foreign"])
def test_a_table_that_others_changed_since_is_read_anew(spoil: str) -> None:
    """Nobody can, since it has an owner; were that not so, no reply would be wrong."""
    machine = FakeKernel(make_policy())
    nft = machine.model.nft
    guards = state_of("10.0.0.5", "10.0.0.6", grants=(("a_t", "10.0.0.5"),))
    spoils: dict[str, Callable[[], None]] = {
        "elements": lambda: nft.elements.update(out_guard4={}),
        "foreign": lambda: nft.foreign.append({"counter": {"name": "theirs"}}),
    }
    left = [spoils[spoil]]
    _in_a_row(machine, GUARDED, guards, between=lambda: left.pop()() if left else None)
    assert _make(machine, guards) is False


def test_a_table_that_is_not_what_was_written_is_found() -> None:
    machine = FakeKernel(make_policy())

    async def ignore(_commands: object) -> None:
        """Do as a kernel that says yes and does nothing."""

    machine.run = ignore  # type: ignore[method-assign,assignment]
    with pytest.raises(VerifyFailed, match="differs from what was written"):
        _make(machine, GUARDED)


def test_without_the_attribute_of_the_bridge_nothing_is_touched() -> None:
    machine = FakeKernel(replace(make_policy(), attributes=frozenset()))
    with pytest.raises(PolicyUnsupported, match="close the bridge first"):
        _make(machine, GUARDED)
    assert machine.model == KernelModel(machine.model.base)
    closed = state_of("10.0.0.5", bridge=Bridge.CLOSED)
    assert _make(machine, closed) is True


def test_no_label_is_made_before_the_bridge_is_seen_in_policy() -> None:
    """The first label makes the kernel check every packet of the machine."""
    machine = FakeKernel(make_policy())
    machine.twist = {"bridge": False}
    with pytest.raises(VerifyFailed, match="bridge"):
        _make(machine, GUARDED)
    assert not machine.model.nft.objects


def test_a_policy_is_asked_once_for_each_load() -> None:
    """The query takes half a second of a real policy."""
    machine = FakeKernel(make_policy())
    kernel = Kernel(machine.adapters())

    async def story() -> None:
        await kernel.make(GUARDED)
        await asyncio.gather(kernel.policy(), kernel.policy(), kernel.machine())

    asyncio.run(story())
    assert machine.faults.calls.count("query") == 1 + machine.loads


def test_a_refused_transaction_leaves_the_old_table() -> None:
    machine = FakeKernel(make_policy())
    _make(machine, GUARDED)
    before = machine.model.nft.listing()

    def refuse(operation: str) -> None:
        if operation == "table":
            raise TableFailed(operation)

    machine.faults.before = refuse
    with pytest.raises(TableFailed):
        _make(machine, state_of("10.0.0.6"))
    assert machine.model.nft.listing() == before
