"""Stories of labels kept with flows: what is kept, what is not, and who tries to profit from it.

Drawn ones are in test_kept_traffic.py.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest

from appfwd.core.expressions import SURE
from appfwd.core.keeping import OF_BANK
from appfwd.core.table import Table
from appfwd.model.destination import Direction
from appfwd.model.fence import Fence
from appfwd.model.policy import PortContext
from appfwd.model.services import Interval
from appfwd.model.state import Bridge, Settings
from tests.core.compiled import Compiled
from tests.core.evaluator import Evaluator, in_epoch
from tests.core.packets import (
    OURS,
    SIDS,
    SYN,
    Ends,
    Entry,
    State,
    Way,
    opened,
    packet_of,
)
from tests.core.reference import TCP
from tests.core.samples import baseline_policy, make_policy
from tests.core.stories import point, state_of

WAYS: tuple[Way, Way] = ("original", "reply")
HOST = point("10.0.0.5:80/tcp")
GUARDED = state_of("10.0.0.0/24")
GRANTED = state_of("10.0.0.0/24", grants=(("a_t", "10.0.0.5:80"),))


@pytest.fixture(autouse=True)
def small() -> None:
    """Begin with labels whose numbers are small."""
    SIDS.begin(large=0)


def _kept(table: Table, number: int, entry: Entry, way: Way = "original") -> Evaluator:
    """Return an evaluator under which the flow's label was kept, by a packet that we sent."""
    evaluator = in_epoch(table, number)
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
    later = _without_lookups(in_epoch(table, 9))
    assert later.send(packet_of(entry, sent)) is not None
    assert later.receive(packet_of(entry, got)) == later.send(packet_of(entry, sent))


def test_what_begins_with_our_syn_is_looked_up_once() -> None:
    table = Compiled(GRANTED, make_policy()).table
    entry = opened(HOST)
    label = in_epoch(table, 9).send(packet_of(entry, "original", "new", SYN))
    later = _without_lookups(in_epoch(table, 9))
    assert label is not None
    assert later.receive(packet_of(entry, "reply")) == label
    assert later.send(packet_of(entry, "original")) == label
    assert entry.sure
    # Not over loopback, nor where the label's number has no room.
    for large, oif in ((0, "lo"), (1, "2")):
        SIDS.begin(large=large)
        entry = opened(HOST)
        packet = replace(packet_of(entry, "original", "new", SYN), oif=oif)
        assert in_epoch(table, 9).send(packet) == label
        assert entry.secmark == SURE
    # Where first packets are told or observed, they have labels that later ones have not.
    for state in (
        replace(GRANTED, settings=Settings(Bridge.OBSERVED)),
        replace(GRANTED, fences=frozenset({Fence("b_t")})),
    ):
        entry = opened(HOST)
        in_epoch(Compiled(state, make_policy()).table, 9).send(
            packet_of(entry, "original", "new", SYN)
        )
        assert entry.secmark == SURE


def test_a_flow_is_as_sure_as_before_whoever_writes_its_word() -> None:
    """Late or not, of the old epoch or the new; and a word makes nothing sure."""
    guarded, granted = _tables()
    for begins in (True, False):
        entry = opened(HOST)
        first = packet_of(entry, "original", "new", SYN if begins else None)
        in_epoch(granted, 7).send(first)
        late = copy.deepcopy(entry)
        in_epoch(granted, 7).send(packet_of(late, "original"))
        _kept(guarded, 8, entry)
        entry.secmark = late.secmark
        _kept(guarded, 8, entry)
        assert entry.sure is late.sure is begins
        label = in_epoch(guarded, 8).send(packet_of(entry, "original"))
        assert label == "appfwd_nobody_packet_t"


def test_a_child_is_not_as_sure_as_its_parent() -> None:
    """It begins with its parent's `ct secmark`, whichever side speaks first."""
    table = Compiled(state_of("in any:80/tcp"), make_policy()).table
    parent, child = opened(HOST), opened(HOST)
    in_epoch(table, 9).send(packet_of(parent, "original", "new", SYN))
    assert parent.sure
    child.original = replace(child.original, sport=80)
    child.expected, child.secmark = True, parent.secmark
    plain = replace(child, secmark=0)
    steps: tuple[tuple[Way, State], ...] = (("original", "related"), ("reply", "established"))
    for way, state in steps:
        expected = in_epoch(table, 0).send(packet_of(plain, way, state))
        assert in_epoch(table, 9).send(packet_of(child, way, state)) == expected
        assert expected == "appfwd_nobody_packet_t"


@pytest.mark.parametrize("number", [9, 9 + OF_BANK])
def test_a_childs_packet_that_comes_as_new_keeps_nothing(number: int) -> None:
    """As one that clashed while it was in a queue: it gets the entry of the one before it."""
    table = Compiled(state_of("in any:20/tcp"), make_policy()).table
    child = opened(HOST)
    child.original = replace(child.original, sport=20)
    child.expected = True
    in_epoch(table, number).send(packet_of(child, "original", "new", SYN))
    label = in_epoch(table, number).send(packet_of(child, "original"))
    assert label == in_epoch(table, 0).send(packet_of(child, "original"))
    assert label == "appfwd_nobody_packet_t"


@pytest.mark.parametrize("port", [79, 80, 85, 90, 443])
def test_a_syn_of_ours_finds_in_fewer_maps_what_others_find(port: int) -> None:
    """A single port, a range, neither; a cell beside them, a guard over them."""
    state = state_of("10.0.0.7", grants=(("a_t", "10.0.0.6:85/tcp"),), baseline=True)
    ports = ((80, 80, "p_port_t"), (85, 89, "q_port_t"), (90, 90, "q_port_t"))
    contexts = tuple(PortContext(6, Interval(low, high), name) for low, high, name in ports)
    table = Compiled(state, replace(baseline_policy(), ports=contexts)).table
    for host in ("10.0.0.5", "10.0.0.6", "10.0.0.7"):
        sure, syn = opened(point(f"{host}:{port}/tcp")), opened(point(f"{host}:{port}/tcp"))
        sure.make_sure()
        label = in_epoch(table, 0).send(packet_of(sure, "original"))
        assert in_epoch(table, 9).send(packet_of(syn, "original", "new", SYN)) == label
        assert syn.secmark & ~SURE
        assert in_epoch(table, 9).send(packet_of(syn, "original")) == label


def test_with_a_complete_baseline_it_matters_to_no_flow_what_its_packets_came_with() -> None:
    state = state_of("10.0.0.0/24", grants=(("a_t", "10.0.0.5:80"),), baseline=True)
    table = Compiled(state, baseline_policy()).table
    entry = opened(HOST)
    label = in_epoch(table, 9).send(packet_of(entry, "original"), had="others_packet_t")
    assert label is not None
    later = _without_lookups(in_epoch(table, 9))
    for had in (None, "others_packet_t"):
        assert later.send(packet_of(entry, "original"), had=had) == label
        assert later.receive(packet_of(entry, "reply"), had=had) == label


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
    # Were it no new one:
    assert in_epoch(guarded, 7).send(packet_of(old, "original")) == allowed
    assert label == in_epoch(guarded, 0).send(packet_of(opened(HOST), "original"))


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
            got = in_epoch(guarded, 8).send(packet_of(entry, "original"))
            assert got == refused != allowed


def test_the_same_word_of_another_bank_is_none() -> None:
    """Numbers that differ by a bank have the same word; the flow has no bit of the second."""
    guarded, granted = _tables()
    for number in (7, 7 + OF_BANK):
        entry = opened(HOST)
        _kept(granted, number, entry)
        word = entry.secmark
        label = in_epoch(guarded, number + OF_BANK).send(packet_of(entry, "original"))
        assert label == "appfwd_nobody_packet_t"
        assert entry.secmark & ~0x1FFF == word & ~0x1FFF


def test_a_flow_that_meets_both_hooks_here_has_each_hooks_own_label() -> None:
    """As over two cards of this machine that are joined outside; loopback is not the only way."""
    grants = (("a_t", "10.0.0.99:80/tcp"), ("b_t", "in 10.0.0.99:80/tcp"))
    table = Compiled(state_of("10.0.0.99", "in any:80/tcp", grants=grants), make_policy()).table
    entry = Entry(4, TCP, Ends(OURS, 45678, OURS, 80))
    plain, keeping = in_epoch(table, 0), in_epoch(table, 9)
    for way in (*WAYS, *WAYS):
        sent, got = keeping.send(packet_of(entry, way)), keeping.receive(packet_of(entry, way))
        fresh = Entry(4, TCP, entry.original)
        assert sent == plain.send(packet_of(fresh, way))
        assert got == plain.receive(packet_of(fresh, way))
        assert sent != got


def test_what_comes_again_with_other_headers_is_looked_up_by_what_it_asked_for() -> None:
    """As by IPVS, which has it pass output twice and tells conntrack of no destination NAT."""
    state = state_of("10.0.0.5:80", grants=(("a_t", "10.0.0.6:80/tcp"),), baseline=True)
    table = Compiled(state, baseline_policy()).table
    entry = opened(HOST)
    syn = packet_of(entry, "original", "new", SYN)
    label = in_epoch(table, 9).send(syn)
    assert label == "appfwd_nobody_packet_t"
    again = packet_of(entry, "original", "new", SYN)
    again.ends = replace(again.ends, daddr=again.ends.daddr + 1)
    assert in_epoch(table, 9).send(again, had=label) == label
    assert in_epoch(table, 9).send(packet_of(entry, "original")) == label


def test_what_is_not_established_or_comes_with_a_label_or_is_foreseen_is_not_kept() -> None:
    table = Compiled(GRANTED, make_policy()).table
    for packet, had in (
        (packet_of(opened(HOST), "original", "new"), None),
        (packet_of(opened(HOST), "original", "new", SYN), "others_packet_t"),
        (packet_of(opened(HOST), "reply", "related"), None),
        (packet_of(opened(HOST), "original"), "others_packet_t"),
        (replace(packet_of(opened(HOST), "original"), oif="lo"), None),
    ):
        in_epoch(table, 9).send(packet, had=had)
        assert packet.entry is not None
        assert packet.entry.secmark in (0, SURE)
    child = opened(HOST)
    child.expected = True
    in_epoch(table, 9).send(packet_of(child, "original"))
    assert child.secmark == 0
    incoming = opened(HOST)
    in_epoch(table, 9).receive(packet_of(incoming, "reply"), had="others_packet_t")
    assert incoming.secmark == 0


def test_without_maps_nothing_is_kept() -> None:
    observed = Compiled(state_of(bridge=Bridge.OBSERVED), make_policy()).table
    assert observed.contexts
    assert not observed.keeps
    assert not Table().keeps
    assert Compiled(GUARDED, make_policy()).table.keeps
