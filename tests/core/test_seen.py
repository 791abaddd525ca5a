"""What is observed: first packets, few of them, and nothing that has a label anyway."""

from __future__ import annotations

from appfwd.core.avc import NEW_TYPES, SEEN_TYPES
from appfwd.model.destination import Direction
from appfwd.model.policy import Rights
from appfwd.model.state import Bridge
from tests.core.compiled import Compiled
from tests.core.packets import SYN, opened, packet_of
from tests.core.reference import BOTH, Point
from tests.core.samples import DOMAINS, baseline_policy, make_policy
from tests.core.stories import point, state_of

OBSERVED = state_of("10.0.0.5", grants=(("a_t", "10.0.0.5:80"),), bridge=Bridge.OBSERVED)
FENCED = state_of(fences=("a_t",), grants=(("a_t", "10.0.0.5:80/tcp"),))
OUT, IN = point("10.0.0.9:80/tcp"), point("in 10.0.0.9:22/tcp")


def _first(compiled: Compiled, to: Point, uid: int | None = 1000) -> str | None:
    """Return the label of the first packet of a new connection."""
    packet = packet_of(opened(to), "original", "new", SYN if to.protocol == 6 else None)
    packet.uid = uid
    hook = compiled.evaluator.send if to.direction is Direction.OUT else compiled.evaluator.receive
    return hook(packet)


def test_a_first_packet_is_recorded_once_for_a_user_and_place() -> None:
    compiled = Compiled(OBSERVED, make_policy())
    assert _first(compiled, OUT) == "appfwd_seen_tcp_t"
    assert _first(compiled, OUT) is None
    assert _first(compiled, OUT, uid=1001) == "appfwd_seen_tcp_t"
    assert _first(compiled, point("10.0.0.9:81/tcp")) == "appfwd_seen_tcp_t"
    assert _first(compiled, point("10.0.0.9:80/udp")) == "appfwd_seen_udp_t"
    assert _first(compiled, point("10.0.0.9/gre")) == "appfwd_seen_other_t"
    assert _first(compiled, point("[2001:db8::9]:80/tcp")) == "appfwd_seen_tcp_t"
    assert _first(compiled, IN) == "appfwd_seen_tcp_t"
    assert _first(compiled, IN) is None


def test_now_and_then_a_place_is_recorded_again() -> None:
    compiled = Compiled(OBSERVED, make_policy())
    _first(compiled, OUT)
    compiled.evaluator.chance = 0
    assert _first(compiled, OUT) == "appfwd_seen_tcp_t"


def test_past_the_rate_nothing_is_recorded_nor_remembered() -> None:
    compiled = Compiled(OBSERVED, make_policy())
    compiled.evaluator.too_many = True
    assert _first(compiled, OUT) is None
    compiled.evaluator.too_many = False
    assert _first(compiled, OUT) == "appfwd_seen_tcp_t"


def test_only_first_packets_of_programs_are_recorded() -> None:
    compiled = Compiled(OBSERVED, make_policy())
    assert compiled.evaluator.send(packet_of(opened(OUT), "original")) is None
    assert compiled.evaluator.receive(packet_of(opened(OUT), "reply")) is None
    assert _first(compiled, OUT, uid=None) is None


def test_a_guard_or_a_label_takes_the_place_of_the_record() -> None:
    compiled = Compiled(OBSERVED, make_policy())
    assert _first(compiled, point("10.0.0.5:80/tcp")) == "appfwd_only_a_t_packet_t"
    assert _first(compiled, point("10.0.0.5:81/tcp")) == "appfwd_nobody_packet_t"
    state = state_of(bridge=Bridge.OBSERVED, baseline=True)
    everything = Compiled(state, baseline_policy(p_client_packet_t=Rights.both(frozenset({"a_t"}))))
    assert _first(everything, OUT) == "p_client_packet_t"
    assert not everything.table.sets, "nothing is left to observe"


def test_what_is_recorded_passes_for_every_domain_and_is_audited() -> None:
    compiled = Compiled(OBSERVED, make_policy())
    label = _first(compiled, OUT)
    assert label in SEEN_TYPES
    for domain in DOMAINS:
        assert compiled.permissions(domain, label) == BOTH
        assert compiled.is_audited(domain, label or "")
        assert not compiled.is_audited(domain, "unlabeled_t")
    shut = Compiled(state_of("10.0.0.5", bridge=Bridge.CLOSED), make_policy())
    assert _first(shut, OUT) is None
    assert not shut.permissions("a_t", None)


def test_while_somebody_is_fenced_every_first_packet_tells_its_protocol() -> None:
    compiled = Compiled(FENCED, make_policy())
    for _ in range(2):
        assert _first(compiled, OUT, uid=None) == "appfwd_new_tcp_t"
    assert _first(compiled, IN) == "appfwd_new_tcp_t"
    for text, protocol in (("[2001:db8::9]/icmpv6", "icmpv6"), ("10.0.0.9/gre", "other")):
        assert _first(compiled, point(text)) == f"appfwd_new_{protocol}_t"
    assert compiled.evaluator.send(packet_of(opened(OUT), "original")) is None


def test_what_tells_the_protocol_passes_for_all_but_the_fenced_and_is_not_audited() -> None:
    compiled = Compiled(FENCED, make_policy())
    for label in NEW_TYPES:
        assert compiled.permissions("b_t", label) == BOTH
        assert compiled.permissions("a_t", label) == frozenset()
        assert not compiled.is_audited("b_t", label)


def test_a_grant_takes_the_place_of_the_protocol() -> None:
    compiled = Compiled(FENCED, make_policy())
    granted = _first(compiled, point("10.0.0.5:80/tcp"))
    assert compiled.permissions("a_t", granted) == BOTH


def test_where_nothing_passes_unlabelled_or_nobody_is_fenced_none_is_told() -> None:
    shut = state_of(fences=("a_t",), bridge=Bridge.CLOSED)
    for state in (shut, state_of("10.0.0.5")):
        assert _first(Compiled(state, make_policy()), OUT) is None


def test_what_is_observed_takes_the_place_of_the_protocol() -> None:
    compiled = Compiled(state_of(fences=("a_t",), bridge=Bridge.OBSERVED), make_policy())
    assert _first(compiled, OUT) == "appfwd_seen_tcp_t"
    assert _first(compiled, OUT) == "appfwd_new_tcp_t"
