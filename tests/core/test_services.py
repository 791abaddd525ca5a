"""Cutting an interval of the service line into boxes that a map element can hold."""

from __future__ import annotations

from itertools import combinations

from hypothesis import example, given
from hypothesis import strategies as st

from appfwd.model.services import Interval, Service, ServiceBox, service_boxes
from tests.core.reference import WITH_PORTS

_LAST = 256 * 65536 - 1
_NEAR = st.builds(
    lambda protocol, port: protocol * 65536 + port,
    st.sampled_from([0, 1, 5, 6, 7, 17, 18, 254, 255]),
    st.sampled_from([0, 1, 80, 65534, 65535]),
)


def _size(box: ServiceBox) -> int:
    return (box.protocols.last - box.protocols.first + 1) * (box.ports.last - box.ports.first + 1)


def _has(box: ServiceBox, service: int) -> bool:
    protocol, port = divmod(service, 65536)
    return (
        box.protocols.first <= protocol <= box.protocols.last
        and box.ports.first <= port <= box.ports.last
    )


@given(_NEAR, _NEAR)
@example(0, _LAST)
@example(6 * 65536 + 65535, 7 * 65536)
def test_boxes_cover_the_interval_exactly(one: int, other: int) -> None:
    """No overlap and the same number of points, all of them of the interval: so the same points."""
    interval = Interval(min(one, other), max(one, other))
    boxes = service_boxes(interval)
    assert 1 <= len(boxes) <= 3
    assert sum(map(_size, boxes)) == interval.last - interval.first + 1
    for box in boxes:
        for protocol in (box.protocols.first, box.protocols.last):
            for port in (box.ports.first, box.ports.last):
                assert interval.first <= protocol * 65536 + port <= interval.last
    for a, b in combinations(boxes, 2):
        assert not (a.protocols.overlaps(b.protocols) and a.ports.overlaps(b.ports))


@given(_NEAR, _NEAR)
def test_a_box_has_one_protocol_or_every_port(one: int, other: int) -> None:
    for box in service_boxes(Interval(min(one, other), max(one, other))):
        one_protocol = box.protocols.first == box.protocols.last
        assert one_protocol or box.ports == Interval(0, 65535)


@given(_NEAR, _NEAR, _NEAR)
def test_a_point_is_in_a_box_where_it_is_in_the_interval(one: int, other: int, at: int) -> None:
    interval = Interval(min(one, other), max(one, other))
    inside = any(_has(box, at) for box in service_boxes(interval))
    assert inside is (interval.first <= at <= interval.last)


def test_whole_protocols_are_one_box() -> None:
    assert len(service_boxes(Interval(0, _LAST))) == 1
    assert len(service_boxes(Interval(6 * 65536, 7 * 65536 - 1))) == 1
    assert len(service_boxes(Interval(6 * 65536 + 80, 9 * 65536 - 1))) == 2


def test_ports_without_a_protocol_mean_every_protocol_that_has_ports() -> None:
    intervals = Service(None, (80, 90)).intervals()
    assert [divmod(i.first, 65536) for i in intervals] == [(p, 80) for p in WITH_PORTS]
    assert [divmod(i.last, 65536) for i in intervals] == [(p, 90) for p in WITH_PORTS]


def test_neither_port_nor_protocol_means_everything() -> None:
    assert Service().intervals() == (Interval(0, _LAST),)
