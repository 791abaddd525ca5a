"""Labels by service alone: what the policy says of ports, as segments, maps, and segments again."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.baseline import Baseline, baseline_of
from appfwd.core.lines import LineMap, Segment, lines_of, segments_of, within
from appfwd.model.destination import Direction
from appfwd.model.policy import LoadedPolicy, PortContext, Rights
from appfwd.model.services import PORTS, Interval
from tests.core import reference
from tests.core.reference import Point
from tests.core.samples import LABELS, baseline_policy, make_policy, policies

DIRECTIONS = st.sampled_from(Direction)
WHOLE = Interval(0, 256 * PORTS - 1)


def _label(baseline: Baseline, point: Point) -> str | None:
    at = point.protocol * PORTS + point.port
    ((_, segment),) = within(baseline.of(point.direction), Interval(at, at))
    return None if segment is None else segment.label


@given(policies(), st.data())
def test_every_port_has_the_label_that_policy_says(
    policy: LoadedPolicy, data: st.DataObject
) -> None:
    """At all borders, and anywhere."""
    baseline = baseline_of(policy)
    anywhere = st.builds(
        Point, DIRECTIONS, st.just(4), st.just(0), st.integers(0, 255), st.integers(0, 65535)
    )
    for point in [*reference.borders(policy), *data.draw(st.lists(anywhere, max_size=9))]:
        assert _label(baseline, point) == reference.baseline_label(policy, point)


@given(policies(), DIRECTIONS)
def test_segments_are_in_order_and_apart_and_maps_hold_them(
    policy: LoadedPolicy, direction: Direction
) -> None:
    segments = baseline_of(policy).of(direction)
    for one, following in itertools.pairwise(segments):
        assert one.services.last < following.services.first
    lines = lines_of(direction, segments)
    for services, segment in within(segments_of(direction, lines), WHOLE):
        for at in (services.first, services.last):
            ((_, wanted),) = within(segments, Interval(at, at))
            assert (wanted and wanted.label) == (segment and segment.label)
    assert lines_of(direction, segments_of(direction, lines)) == lines


@given(policies(), DIRECTIONS, st.tuples(st.integers(0, WHOLE.last), st.integers(0, WHOLE.last)))
def test_an_interval_is_cut_without_a_gap(
    policy: LoadedPolicy, direction: Direction, ends: tuple[int, int]
) -> None:
    whole = Interval(min(ends), max(ends))
    parts = list(within(baseline_of(policy).of(direction), whole))
    assert (parts[0][0].first, parts[-1][0].last) == (whole.first, whole.last)
    for (one, _), (following, _) in itertools.pairwise(parts):
        assert one.last + 1 == following.first


def test_where_contexts_overlap_the_first_counts() -> None:
    policy = replace(
        baseline_policy(),
        ports=(
            PortContext(6, Interval(80, 90), "p_port_t"),
            PortContext(6, Interval(85, 85), "q_port_t"),
            PortContext(6, Interval(85, 100), "q_port_t"),
            PortContext(6, Interval(0, 1023), "reserved_port_t"),
        ),
    )
    segments = [s for s in baseline_of(policy).of(Direction.OUT) if s.port_type]
    start = 6 * PORTS
    assert segments == [
        Segment(Interval(start + 80, start + 90), "p_client_packet_t", "p_port_t"),
        Segment(Interval(start + 91, start + 100), "q_client_packet_t", "q_port_t"),
    ]


def test_maps_of_ports_hold_only_what_differs_from_the_protocol() -> None:
    lines = lines_of(Direction.OUT, baseline_of(baseline_policy()).of(Direction.OUT))
    assert lines[LineMap(Direction.OUT, 6, exact=True)] == {Interval(80, 80): "p_client_packet_t"}
    protocols = lines[LineMap(Direction.OUT, None)]
    assert protocols[Interval(1, 1)] == protocols[Interval(58, 58)] == "icmp_packet_t"
    assert protocols[Interval(2, 57)] == "client_packet_t"
    assert len(lines) == 2


def test_a_map_has_its_name_and_no_other_name_is_one() -> None:
    names = [LineMap(d, p, exact) for d in Direction for p in (6, 17) for exact in (False, True)]
    names += [LineMap(direction, None) for direction in Direction]
    assert [LineMap.parse(str(name)) for name in names] == names
    for text in ("out_proto_exact", "out_exact", "in_icmpx", "up_tcp", "out_tcp_exact_exact"):
        with pytest.raises((ValueError, KeyError)):
            LineMap.parse(text)


def test_a_policy_without_packet_types_says_so() -> None:
    baseline = baseline_of(make_policy())
    assert not baseline
    assert "brings no packet types" in baseline.report[0]


def test_what_the_daemon_may_not_label_with_is_told_and_the_default_given() -> None:
    policy = baseline_policy()
    policy = replace(policy, relabel=frozenset(LABELS) - {"p_client_packet_t"})
    baseline = baseline_of(policy)
    assert "p_client_packet_t" in " ".join(baseline.report)
    assert _label(baseline, Point(Direction.OUT, 4, 0, 6, 80)) == "client_packet_t"


def test_other_names_label_what_they_can() -> None:
    """A policy with types for one port and no default: all else stays without a label."""
    labels = {"p_client_packet_t": Rights()}
    ports = (PortContext(6, Interval(80, 80), "p_port_t"),)
    policy = replace(make_policy(), labels=labels, relabel=frozenset(labels), ports=ports)
    baseline = baseline_of(policy)
    assert [segment.label for segment in baseline.of(Direction.OUT)] == ["p_client_packet_t"]
    assert not baseline.of(Direction.IN)
    assert "no usable type server_packet_t" in " ".join(baseline.report)
