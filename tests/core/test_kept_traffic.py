"""A label kept with a flow is the one that a lookup would find, whatever happened in between.

Between an old state and a new one packets run late on other processors, peers speak first, entries
are older than the table or foreseen by a helper, and labels come with the packets.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from appfwd.core.keeping import OF_BANK, OUTPUT_KEPT, kept_rules
from appfwd.core.table import Table
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import DesiredState
from tests.core.compiled import Compiled
from tests.core.evaluator import Evaluator, in_epoch
from tests.core.packets import SIDS, SYN, Entry, Packet, State, Way, opened, packet_of
from tests.core.reference import TCP
from tests.core.samples import points_of, policies, states

WAYS: tuple[Way, Way] = ("original", "reply")
#: Numbers of epochs: neighbours, of the same bank and of others with the same word.
NUMBERS = (7, 8, 7 + OF_BANK, 8 + OF_BANK, 7 + 2 * OF_BANK)


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
        expected = _hook(in_epoch(self.table, 0), plain, had, sent=sent)
        word = packet.entry.secmark
        got = _hook(in_epoch(self.table, self.number), packet, had, sent=sent)
        assert got == expected, (packet, word)

    def begin(self, packet: Packet, had: str | None, *, sent: bool) -> None:
        """Let a packet look up its label now, and write it down later."""
        assert packet.entry is not None
        copied = copy.deepcopy(packet)
        _hook(in_epoch(self.table, self.number), copied, had, sent=sent)
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
        entry.make_sure()
    if not draw(_MOSTLY):
        entry.dnat = (draw(st.sampled_from(points)).address, 80)
    entry.has_labels = draw(_MOSTLY)
    if not draw(_MOSTLY):  # a child of what was kept before
        entry.expected = True
        begun = kept_rules(draw(st.sampled_from(NUMBERS)), complete=False)
        taken = begun[OUTPUT_KEPT][draw(st.integers(0, 1))]
        (word,) = (e["mangle"]["value"]["^"][1] for e in taken if "mangle" in e)
        entry.secmark = word | 3
        if draw(st.booleans()):
            entry.make_sure()
    begins = entry.protocol == TCP and not entry.sure and draw(_MOSTLY)
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
