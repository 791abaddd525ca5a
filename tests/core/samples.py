"""Random desired states that collide a lot, and the points where they may go wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hypothesis import strategies as st

from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Destination, Direction
from appfwd.model.fence import Fence, Kept
from appfwd.model.policy import KernelContexts, LoadedPolicy, PortContext, Rights
from appfwd.model.services import Interval, Service
from appfwd.model.state import Bridge, DesiredState, Grant, Guard, Settings
from tests.core.reference import ICMP, ICMPV6, WITH_PORTS, Point

DOMAINS = ("a_t", "b_t", "c_t")
#: A domain that grants name and policy has not.
GONE = "gone_t"
KERNEL, UNLABELED = "kernel_t", "unlabeled_t"

CONTEXTS = KernelContexts("system_u", "object_r", "s0", UNLABELED, KERNEL, "appfwd_t")
EPHEMERAL = Interval(32768, 60999)

V4, V6 = 0x0A00_0000, 0x2001_0DB8 << 96
_PORTS = (0, 1, 53, 80, 81, 443, 32767, 32768, 40000, 60999, 61000, 65535)
_PROTOCOLS = (6, 17, 132, 47, ICMP, ICMPV6)


def _range_near(family: Family) -> st.SearchStrategy[AddressRange]:
    base = V4 if family is Family.IPV4 else V6
    ends = st.tuples(st.integers(0, 7), st.integers(0, 7))
    near = ends.map(lambda e: AddressRange(family, base + min(e), base + max(e)))
    prefix = st.integers(0, 3).map(
        lambda n: AddressRange(family, base + 4 & ~((1 << n) - 1), base + 4 | ((1 << n) - 1))
    )
    edges = st.sampled_from(
        [
            AddressRange.whole(family),
            AddressRange(family, 0, base + 2),
            AddressRange(family, base + 3, family.last),
        ]
    )
    return st.one_of(near, near, prefix, edges)


def _ports() -> st.SearchStrategy[tuple[int, int]]:
    two = st.tuples(st.sampled_from(_PORTS), st.sampled_from(_PORTS))
    return st.one_of(
        st.sampled_from(_PORTS).map(lambda p: (p, p)), two.map(lambda p: (min(p), max(p)))
    )


# Made once: hypothesis takes longer to look at a new strategy than to draw from an old one.
_PEERS = {family: st.one_of(st.none(), *[_range_near(family)] * 3) for family in Family}
_FAMILIES, _DIRECTIONS = st.sampled_from(Family), st.sampled_from(Direction)
_PROTOCOL = st.sampled_from((None, None, *_PROTOCOLS))
_PORTS_OR_NONE = st.one_of(st.none(), _ports(), _ports())


@st.composite
def _draw_destination(draw: st.DrawFn, direction: Direction | None) -> Destination:
    where = direction or draw(_DIRECTIONS)
    family = draw(_FAMILIES)
    peer, protocol, ports = draw(_PEERS[family]), draw(_PROTOCOL), draw(_PORTS_OR_NONE)
    if peer is not None and protocol == (ICMPV6 if family is Family.IPV4 else ICMP):
        protocol = ICMP if family is Family.IPV4 else ICMPV6
    if protocol not in (None, *WITH_PORTS):
        ports = None
    return Destination(where, peer, Service(protocol, ports))


@cache
def destinations(direction: Direction | None = None) -> st.SearchStrategy[Destination]:
    """Return destinations of a small world, such as the grammar can say."""
    return _draw_destination(direction)


@cache
def states(*, bridge: Bridge | None = None) -> st.SearchStrategy[DesiredState]:
    """Return desired states with up to four guards, five grants and two fences."""
    guards = st.frozensets(destinations().map(Guard), max_size=4)
    grants = st.frozensets(
        st.builds(Grant, st.sampled_from((*DOMAINS, GONE)), destinations()), max_size=5
    )
    bridges = st.sampled_from(Bridge) if bridge is None else st.just(bridge)
    settings = st.builds(_settings, bridges, st.booleans(), st.booleans())
    fences = st.one_of(st.just(frozenset[Fence]()), some_fences())
    return st.builds(DesiredState, guards, grants, settings, fences=fences)


@cache
def some_fences() -> st.SearchStrategy[frozenset[Fence]]:
    """Return fences of up to two domains."""
    labels = st.frozensets(st.sampled_from((*LABELS, UNLABELED)))
    each = st.tuples(st.booleans(), st.booleans(), st.builds(Kept, labels, labels))
    of_domains = st.dictionaries(st.sampled_from((*DOMAINS, GONE)), each, max_size=2)
    return of_domains.map(lambda all_: frozenset(Fence(d, *its) for d, its in all_.items()))


def _settings(bridge: Bridge, strict: bool, baseline: bool) -> Settings:  # noqa: FBT001
    return Settings(bridge, strict=strict and bridge is Bridge.CLOSED, baseline=baseline)


def _some(domains: tuple[str, ...]) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(domains))


def policies() -> st.SearchStrategy[LoadedPolicy]:
    """Return policies with some of the domains, some of which may use unlabelled packets."""
    rights = st.builds(Rights, _some((*DOMAINS, KERNEL)), _some((*DOMAINS, KERNEL)))
    labels: st.SearchStrategy[dict[str, Rights]] = st.one_of(
        st.just({}),
        st.dictionaries(st.sampled_from(LABELS), rights, max_size=4),
        st.fixed_dictionaries(dict.fromkeys(LABELS, rights)),
    )
    ports = st.lists(_port_contexts(), max_size=4).map(tuple)
    return st.builds(
        _with_labels, rights.map(make_policy), labels, st.sampled_from((None, *LABELS)), ports
    )


#: The packet types of a small policy, and the port types beside them, one without any.
LABELS = (
    *("client_packet_t", "server_packet_t", "icmp_packet_t"),
    *("p_client_packet_t", "p_server_packet_t", "q_client_packet_t"),
)
_PORT_TYPES = ("p_port_t", "q_port_t", "reserved_port_t", "odd_t")


def _port_contexts() -> st.SearchStrategy[PortContext]:
    intervals = _ports().map(lambda ends: Interval(*ends))
    return st.builds(
        PortContext, st.sampled_from((6, 6, 17, 132)), intervals, st.sampled_from(_PORT_TYPES)
    )


def _with_labels(
    policy: LoadedPolicy,
    labels: dict[str, Rights],
    forbidden: str | None,
    ports: tuple[PortContext, ...],
) -> LoadedPolicy:
    relabel = frozenset(labels) - {forbidden}
    return replace(policy, labels=labels, relabel=relabel, ports=ports)


def make_policy(
    unlabeled: Rights | None = None, domains: frozenset[str] = frozenset(DOMAINS)
) -> LoadedPolicy:
    """Return a policy of ``domains`` and the kernel; ``unlabeled`` need no labels."""
    rights = unlabeled or Rights()
    present = domains | {KERNEL}
    return LoadedPolicy(
        domains=present,
        attributes=frozenset({"domain", "netif_type", "node_type"}),
        types=present | {UNLABELED, CONTEXTS.loader},
        unlabeled=Rights(rights.send & present, rights.recv & present),
    )


def baseline_policy(**rights: Rights) -> LoadedPolicy:
    """Return a policy with all of LABELS, those named with ``rights``, and p_port_t on 80/tcp."""
    labels = {name: rights.get(name, Rights()) for name in LABELS}
    ports = (PortContext(6, Interval(80, 80), "p_port_t"),)
    return _with_labels(make_policy(), labels, None, ports)


def members(state: DesiredState) -> list[Destination]:
    """Return every destination that is guarded or granted, or where a fence does not hold."""
    guards = [guard.destination for guard in state.guards]
    spared = {place for fence in state.fences for place in fence.spared()}
    return guards + [grant.destination for grant in state.grants] + [*spared]


def points_of(state: DesiredState) -> list[Point]:
    """Return points at every border of every rectangle, and one off to either side."""
    found: list[Point] = []
    everything = members(state)
    for direction in Direction:
        mine = [d for d in everything if d.direction is direction]
        services = _services(mine)
        for family in Family:
            for address in _addresses(mine, family):
                found += [
                    Point(direction, int(family), address, *divmod(service, 65536))
                    for service in services
                ]
    return found


def _addresses(those: list[Destination], family: Family) -> list[int]:
    near = {V4 + 4 if family is Family.IPV4 else V6 + 4, 0, family.last}
    for one in those:
        if one.peer is not None and one.peer.family is family:
            near |= {one.peer.first - 1, one.peer.first, one.peer.last, one.peer.last + 1}
    return sorted(n for n in near if 0 <= n <= family.last)


def _services(those: list[Destination]) -> list[int]:
    near = {6 * 65536 + 80, 0, 255 * 65536 + 65535}
    for one in those:
        protocols = WITH_PORTS if one.service.protocol is None else (one.service.protocol,)
        low, high = one.service.ports or (0, 65535)
        for protocol in protocols:
            start = protocol * 65536
            near |= {start + low - 1, start + low, start + high, start + high + 1}
    return sorted(n for n in near if 0 <= n < 256 * 65536)


def with_protocol(point: Point, protocol: int) -> Point:
    """Return ``point`` with another protocol."""
    return replace(point, protocol=protocol)
