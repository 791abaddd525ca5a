"""Cells: disjoint, and every point of the space has the claim that brute force gives."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given

from appfwd.core import cells as core
from appfwd.core.cells import Cell, Claim, Layers, Where, layers
from appfwd.model.addresses import Family
from appfwd.model.destination import Direction, parse_destination
from appfwd.model.services import Interval, service_boxes
from appfwd.model.state import DesiredState, Grant, Guard
from tests.core import reference
from tests.core.reference import Point
from tests.core.samples import DOMAINS, GONE, members, points_of, states


def _holds(cell: Cell, point: Point) -> bool:
    line = point.protocol * 65536 + point.port
    return (
        cell.direction is point.direction
        and cell.peer.family == point.version
        and cell.peer.first <= point.address <= cell.peer.last
        and cell.services.first <= line <= cell.services.last
    )


def _claims(found: Layers, point: Point) -> list[Claim]:
    """Return the claim of a point of the sample: its own, or those of cells that hold it."""
    where = Where(point.direction, Family(point.version))
    key = core.Point(point.address, point.protocol, point.port)
    if key in found.points[where]:
        return [found.claim(where, key)]
    return [cell.claim for cell in found.cells if _holds(cell, point)]


def _meet(one: Cell, other: Cell) -> bool:
    return (
        one.direction is other.direction
        and one.peer.family is other.peer.family
        and one.peer.first <= other.peer.last
        and other.peer.first <= one.peer.last
        and one.services.first <= other.services.last
        and other.services.first <= one.services.last
    )


@given(states())
def test_cells_never_overlap(state: DesiredState) -> None:
    assert not any(_meet(one, other) for one, other in combinations(layers(state).cells, 2))


@given(states())
def test_every_point_has_the_claim_of_brute_force(state: DesiredState) -> None:
    """Points at all borders and one beyond; those of no cell have no guard, grant or spared one."""
    found = layers(state)
    for point in points_of(state):
        here = _claims(found, point)
        granted = {d for d in (*DOMAINS, GONE) if reference.granted(state, d, point)}
        guarded = reference.guarded(state, point)
        spared = {
            fence.domain
            for fence in state.fences
            if not guarded and not reference.fenced(state, fence.domain, point)
        }
        if here:
            (claim,) = here
            assert claim.guarded is guarded
            assert claim.granted == granted
            assert claim.spared == spared
        else:
            assert not guarded
            assert not spared
            assert not granted


@given(states())
def test_the_sample_points_fall_on_both_sides_of_borders(state: DesiredState) -> None:
    """The test above would prove nothing if its points missed the rectangles."""
    points = points_of(state)
    for destination in members(state):
        covered = [reference.covers(destination, point) for point in points]
        assert any(covered)
        assert not all(covered)


def _only(*texts: str, domain: str | None = None) -> tuple[Cell, ...]:
    places = [parse_destination(text) for text in texts]
    if domain is None:
        return layers(DesiredState(guards=frozenset(map(Guard, places)))).cells
    return layers(DesiredState(grants=frozenset(Grant(domain, place) for place in places))).cells


def test_a_network_is_one_cell_however_many_hosts_lie_beside_it() -> None:
    hosts = [f"192.0.2.{n}:443/tcp" for n in range(0, 250, 2)]
    found = _only("10.0.0.0/8:80/tcp", *hosts)
    assert len(found) == 1
    found = _only("10.0.0.0/8:80/tcp", *(f"{host.split(':')[0]}" for host in hosts))
    assert len(found) == 1 + len(hosts)


def test_a_point_cuts_nothing_and_has_what_is_below_it_too() -> None:
    network, host = parse_destination("10.0.0.0/24"), parse_destination("10.0.0.9:80/tcp")
    found = layers(DesiredState(frozenset({Guard(network)}), frozenset({Grant("a_t", host)})))
    assert [str(cell.peer) for cell in found.cells] == ["10.0.0.0/24"]
    where, point = Where(Direction.OUT, Family.IPV4), core.Point(0x0A000009, 6, 80)
    assert [*found.points[where]] == [point]
    assert found.claim(where, point) == Claim(guarded=True, granted=frozenset({"a_t"}))


def test_neighbours_of_equal_claim_are_one_cell() -> None:
    (cell,) = _only("10.0.0.0/25:80/tcp", "10.0.0.128/25:80/tcp", "10.0.0.7-10.0.0.9:80/tcp")
    assert str(cell.peer) == "10.0.0.0/24"
    (cell,) = _only("10.0.0.1:80-90/tcp", "10.0.0.1:91-99/tcp", domain="a_t")
    assert service_boxes(cell.services)[0].ports == Interval(80, 99)


def test_a_host_cuts_its_network_in_three() -> None:
    network, host = parse_destination("10.0.0.0/24"), parse_destination("10.0.0.9")
    state = DesiredState(frozenset({Guard(network)}), frozenset({Grant("a_t", host)}))
    found = layers(state).cells
    assert [str(cell.peer) for cell in found] == [
        "10.0.0.0-10.0.0.8",
        "10.0.0.9",
        "10.0.0.10-10.0.0.255",
    ]
    assert [bool(cell.claim.granted) for cell in found] == [False, True, False]


def test_directions_do_not_meet() -> None:
    inbound = parse_destination("any:80/tcp", Direction.IN)
    assert {cell.direction for cell in layers(DesiredState(frozenset({Guard(inbound)}))).cells} == {
        Direction.IN
    }
