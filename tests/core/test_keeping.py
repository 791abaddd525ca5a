"""A label kept with a flow is the one that a lookup would find, whatever happened in between.

Between an old state and a new one packets run late on other processors, peers speak first, entries
are older than the table or foreseen by a helper, and labels come with the packets.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appfwd.core.expressions import SURE
from appfwd.core.keeping import OF_BANK, OUTPUT_KEPT, kept_rules
from appfwd.core.table import Table
from appfwd.model.destination import Direction
from appfwd.model.fence import Fence
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import Bridge, DesiredState, Settings
from tests.core.compiled import Compiled
from tests.core.evaluator import Evaluator
from tests.core.packets import (
    OURS,
    SIDS,
    SYN,
    Ends,
    Entry,
    Packet,
    State,
    Way,
    opened,
    packet_of,
)
from tests.core.reference import TCP
from tests.core.samples import make_policy, points_of, policies, states
from tests.core.stories import point, state_of

WAYS: tuple[Way, Way] = ("original", "reply")
HOST = point("10.0.0.5:80/tcp")
GUARDED = state_of("10.0.0.0/24")
GRANTED = state_of("10.0.0.0/24", grants=(("a_t", "10.0.0.5:80"),))
#: Numbers of epochs: neighbours, of the same bank and of others with the same word.
NUMBERS = (7, 8, 7 + OF_BANK, 8 + OF_BANK, 7 + 2 * OF_BANK)


def _evaluator(table: Table, number: int) -> Evaluator:
    return Evaluator(replace(table, keeping=number if table.keeps else 0))


@pytest.fixture(autouse=True)
def small() -> None:
    """Begin with labels whose numbers are small."""
    SIDS.begin(large=0)


# The label with keeping is the one without.


@dataclass
class Flow:
    """A flow, and whether both sides have spoken."""

    entry: Entry
    answered: bool = False
    oif: str = "2"
    #: Whether its first packet is a SYN, which conntrack has not seen of others.
    begins: bool = False


@dataclass
class Late:
    """A packet under way on another processor: what it will have written once it is done."""

    entry: Entry
    as_left: Entry

    def finish(self) -> None:
        """Write what it found when it began."""
        self.entry.secmark = self.as_left.secmark
        if self.entry.has_labels:
            self.entry.labels |= self.as_left.labels


@dataclass
class Traffic:
    """Flows under one table after another; ``late`` are packets that have not finished."""

    flows: list[Flow]
    table: Table
    number: int = 0
    late: list[Late] = field(default_factory=list)

    def change(self, table: Table) -> None:
        """Change the table, with which the epoch ends."""
        self.table, self.number = table, 0

    def pass_(self, packet: Packet, had: str | None, *, sent: bool) -> None:
        """Hold that a packet's label is what a lookup finds."""
        assert packet.entry is not None
        plain = copy.deepcopy(packet)
        expected = _hook(_evaluator(self.table, 0), plain, had, sent=sent)
        word = packet.entry.secmark
        got = _hook(_evaluator(self.table, self.number), packet, had, sent=sent)
        assert got == expected, (packet, word)

    def begin(self, packet: Packet, had: str | None, *, sent: bool) -> None:
        """Let a packet look up its label now, and write it down later."""
        assert packet.entry is not None
        copied = copy.deepcopy(packet)
        _hook(_evaluator(self.table, self.number), copied, had, sent=sent)
        assert copied.entry is not None
        self.late.append(Late(packet.entry, copied.entry))


def _hook(evaluator: Evaluator, packet: Packet, had: str | None, *, sent: bool) -> str | None:
    return evaluator.send(packet, had=had) if sent else evaluator.receive(packet, had=had)


_MOSTLY = st.sampled_from([True, True, True, True, False])


@dataclass(frozen=True)
class Step:
    """A packet: of which flow, as conntrack sees it, and with which label it comes."""

    flow: int
    sent: bool
    way: Way
    state: State
    had: str | None
    #: Whether it is under way for long, and which of those under way are done before it.
    late: bool
    finished: int


_STEPS = st.builds(
    Step,
    st.integers(0, 1),
    st.booleans(),
    st.sampled_from(WAYS),
    st.sampled_from(["established"] * 6 + ["related", "new"]),
    st.sampled_from([None, None, None, None, "others_packet_t"]),
    st.sampled_from([False, False, False, True]),
    st.integers(0, 2),
)


@st.composite
def flows(draw: st.DrawFn, points: list[Any]) -> Flow:
    """Draw a flow to one of the points."""
    entry = opened(draw(st.sampled_from(points)))
    if draw(st.booleans()):
        entry.labels.add(SURE)
    if not draw(_MOSTLY):
        entry.dnat = (draw(st.sampled_from(points)).address, 80)
    entry.has_labels = draw(_MOSTLY)
    if not draw(_MOSTLY):  # a child of what was kept before
        entry.expected = True
        taken = kept_rules(draw(st.sampled_from(NUMBERS)))[OUTPUT_KEPT][draw(st.integers(0, 1))]
        entry.secmark = taken[2]["mangle"]["value"]["^"][1] | 3
    begins = entry.protocol == TCP and SURE not in entry.labels and draw(_MOSTLY)
    answered = not begins and draw(_MOSTLY)
    return Flow(entry, answered, draw(st.sampled_from(["2", "2", "2", "2", "lo"])), begins)


def _packet(flow: Flow, step: Step) -> Packet:
    """Return the packet, as conntrack may give it as the flow's next one."""
    way, state, flags = step.way, step.state, None
    if not flow.answered:
        way, state, flags = "original", "new", SYN if flow.begins else None
        if flow.entry.expected:
            state = "related"
    elif state == "new":
        state = "established"
    packet = packet_of(flow.entry, way, state, flags)
    if state == "related" and flow.answered:
        packet.protocol = 1
    packet.oif = flow.oif
    return packet


@settings(max_examples=200)
@given(states(), states(), policies(), st.data())
def test_a_kept_label_is_what_a_lookup_finds(
    one: DesiredState, other: DesiredState, policy: LoadedPolicy, data: st.DataObject
) -> None:
    """Whatever packets come, change after change, epoch after epoch, and however late they are."""
    SIDS.begin(large=4)
    near = (replace(one, grants=one.grants ^ other.grants), replace(one, grants=frozenset()))
    tables = [Compiled(state, policy).table for state in (one, *near, other)]
    points = [*points_of(one), *points_of(other)]
    traffic = Traffic(data.draw(st.lists(flows(points), min_size=2, max_size=2)), tables[0])
    for number in NUMBERS:
        if data.draw(_MOSTLY):
            traffic.change(data.draw(st.sampled_from(tables)))
            traffic.number = number if data.draw(_MOSTLY) else 0
        for step in data.draw(st.lists(_STEPS, min_size=2, max_size=8)):
            for late in traffic.late[: step.finished]:
                late.finish()
                traffic.late.remove(late)
            flow = traffic.flows[step.flow]
            packet = _packet(flow, step)
            # Nobody else finds an entry before its first packet is through.
            slow = step.late and (flow.answered or not flow.begins)
            (traffic.begin if slow else traffic.pass_)(packet, step.had, sent=step.sent)
            flow.answered = True


# Stories.


def _kept(table: Table, number: int, entry: Entry, way: Way = "original") -> Evaluator:
    """Return an evaluator under which the flow's label was kept, by a packet that we sent."""
    evaluator = _evaluator(table, number)
    evaluator.send(packet_of(entry, way))
    assert entry.secmark
    return evaluator


def _tables() -> tuple[Table, Table]:
    """Return the tables without and with the grant."""
    guarded, granted = (Compiled(state, make_policy()).table for state in (GUARDED, GRANTED))
    return guarded, granted


def _without_lookups(evaluator: Evaluator) -> Evaluator:
    """Take every map away: what has a label after that, had it kept."""
    for elements in evaluator._maps.values():
        elements.clear()
    return evaluator


@pytest.mark.parametrize("to", [HOST, point("in 10.0.0.5:80/tcp"), point("10.0.0.5:80/udp")])
def test_a_kept_flow_needs_no_map_both_ways_at_both_hooks(to: Any) -> None:
    """Or all of this would hold nothing."""
    state = state_of("10.0.0.0/24", "in 10.0.0.0/24", grants=(("a_t", "10.0.0.5:80"),))
    table = Compiled(state, make_policy()).table
    entry = opened(to)
    sent, got = WAYS if to.direction is Direction.OUT else WAYS[::-1]
    _kept(table, 9, entry, sent)
    later = _without_lookups(_evaluator(table, 9))
    assert later.send(packet_of(entry, sent)) is not None
    assert later.receive(packet_of(entry, got)) == later.send(packet_of(entry, sent))


def test_what_begins_with_our_syn_is_looked_up_once() -> None:
    table = Compiled(GRANTED, make_policy()).table
    entry = opened(HOST)
    label = _evaluator(table, 9).send(packet_of(entry, "original", "new", SYN))
    later = _without_lookups(_evaluator(table, 9))
    assert label is not None
    assert later.receive(packet_of(entry, "reply")) == label
    assert later.send(packet_of(entry, "original")) == label
    assert SURE in entry.labels
    # Not over loopback, nor where the label's number has no room.
    for large, oif in ((0, "lo"), (1, "2")):
        SIDS.begin(large=large)
        entry = opened(HOST)
        packet = replace(packet_of(entry, "original", "new", SYN), oif=oif)
        assert _evaluator(table, 9).send(packet) == label
        assert (entry.secmark, entry.labels) == (0, {SURE})
    # Where first packets are told or observed, they have labels that later ones have not.
    for state in (
        replace(GRANTED, settings=Settings(Bridge.OBSERVED)),
        replace(GRANTED, fences=frozenset({Fence("b_t")})),
    ):
        entry = opened(HOST)
        _evaluator(Compiled(state, make_policy()).table, 9).send(
            packet_of(entry, "original", "new", SYN)
        )
        assert entry.secmark == 0


def test_an_old_packet_that_finishes_late_opens_nothing() -> None:
    """It looked up the granted label before the revoke, and writes it in the next epoch."""
    guarded, granted = _tables()
    entry = opened(HOST)
    old = copy.deepcopy(entry)
    allowed = _kept(granted, 7, old).send(packet_of(old, "original"))
    new = _kept(guarded, 8, entry)
    entry.secmark = old.secmark
    entry.labels |= old.labels
    label = new.send(packet_of(entry, "original"))
    assert label != allowed
    assert _evaluator(guarded, 7).send(packet_of(old, "original")) == allowed  # were it no new one
    assert label == _evaluator(guarded, 0).send(packet_of(opened(HOST), "original"))


class Flickering(Entry):
    """An entry whose word changes at every look: old packets and new ones write in turn."""

    def __init__(self, entry: Entry, *words: int) -> None:
        super().__init__(entry.version, entry.protocol, entry.original, labels=set(entry.labels))
        self._words = cycle(words)

    def __getattribute__(self, name: str) -> Any:
        if name == "secmark":
            return next(object.__getattribute__(self, "_words"))
        return object.__getattribute__(self, name)


def test_a_word_is_looked_at_once() -> None:
    """Were it compared and then read again, the second look could find another's."""
    guarded, granted = _tables()
    old, now = opened(HOST), opened(HOST)
    allowed = _kept(granted, 7, old).send(packet_of(old, "original"))
    refused = _kept(guarded, 8, now).send(packet_of(now, "original"))
    for words in ((old.secmark, now.secmark), (now.secmark, old.secmark)):
        entry = Flickering(now, *words)
        for _ in range(4):
            got = _evaluator(guarded, 8).send(packet_of(entry, "original"))
            assert got == refused != allowed


def test_the_same_word_of_another_bank_is_none() -> None:
    """Numbers that differ by a bank have the same word; the flow has no bit of the second."""
    guarded, granted = _tables()
    for number in (7, 7 + OF_BANK):
        entry = opened(HOST)
        _kept(granted, number, entry)
        word = entry.secmark
        label = _evaluator(guarded, number + OF_BANK).send(packet_of(entry, "original"))
        assert label == "appfwd_nobody_packet_t"
        assert entry.secmark & ~0x1FFF == word & ~0x1FFF


def test_a_flow_that_meets_both_hooks_here_has_each_hooks_own_label() -> None:
    """As over two cards of this machine that are joined outside; loopback is not the only way."""
    grants = (("a_t", "10.0.0.99:80/tcp"), ("b_t", "in 10.0.0.99:80/tcp"))
    table = Compiled(state_of("10.0.0.99", "in any:80/tcp", grants=grants), make_policy()).table
    entry = Entry(4, TCP, Ends(OURS, 45678, OURS, 80))
    plain, keeping = _evaluator(table, 0), _evaluator(table, 9)
    for way in (*WAYS, *WAYS):
        sent, got = keeping.send(packet_of(entry, way)), keeping.receive(packet_of(entry, way))
        fresh = Entry(4, TCP, entry.original)
        assert sent == plain.send(packet_of(fresh, way))
        assert got == plain.receive(packet_of(fresh, way))
        assert sent != got


def test_what_is_not_established_or_comes_with_a_label_or_is_foreseen_is_not_kept() -> None:
    table = Compiled(GRANTED, make_policy()).table
    for packet, had in (
        (packet_of(opened(HOST), "original", "new"), None),
        (packet_of(opened(HOST), "original", "new", SYN), "others_packet_t"),
        (packet_of(opened(HOST), "reply", "related"), None),
        (packet_of(opened(HOST), "original"), "others_packet_t"),
        (replace(packet_of(opened(HOST), "original"), oif="lo"), None),
    ):
        _evaluator(table, 9).send(packet, had=had)
        assert packet.entry is not None
        assert packet.entry.secmark == 0
    child = opened(HOST)
    child.expected = True
    _evaluator(table, 9).send(packet_of(child, "original"))
    assert child.secmark == 0
    incoming = opened(HOST)
    _evaluator(table, 9).receive(packet_of(incoming, "reply"), had="others_packet_t")
    assert incoming.secmark == 0


def test_without_maps_nothing_is_kept() -> None:
    observed = Compiled(state_of(bridge=Bridge.OBSERVED), make_policy()).table
    assert observed.contexts
    assert not observed.keeps
    assert not Table().keeps
    assert Compiled(GUARDED, make_policy()).table.keeps
