"""The baseline: which of the policy's own packet types each port has, read from the policy alone.

The names are refpolicy's: ports of type ``X_port_t`` have ``X_client_packet_t`` for connections
that we open to them and ``X_server_packet_t`` for those opened to ours; what has no such type has
``client_packet_t`` or ``server_packet_t``, and ICMP of both families ``icmp_packet_t``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from appfwd.core.lines import Segment
from appfwd.model.destination import Direction
from appfwd.model.policy import LoadedPolicy, PortContext
from appfwd.model.services import ICMP, ICMPV6, LAST_PROTOCOL, PORTS, Interval

_WORD = {Direction.OUT: "client", Direction.IN: "server"}
_ICMP = "icmp_packet_t"
_PORT_SUFFIX = "_port_t"
_NAMED_AT_MOST = 8


@dataclass(frozen=True)
class Baseline:
    """Segments for each direction, in order and disjoint; what has none stays without label.

    ``report`` says in sentences what the policy lacks.
    """

    segments: Mapping[Direction, tuple[Segment, ...]] = field(default_factory=dict)
    report: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(self.segments.values())

    def of(self, direction: Direction) -> tuple[Segment, ...]:
        """Return the segments of a direction."""
        return self.segments.get(direction, ())


def baseline_of(policy: LoadedPolicy) -> Baseline:
    """Return what ``policy`` labels; only types that the table's loader may label with are used."""
    usable = policy.labels.keys() & policy.relabel
    segments = {d: tuple(_segments(policy.ports, usable, d)) for d in Direction}
    return Baseline(segments, tuple(_report(policy, usable)))


def default_type(direction: Direction) -> str:
    """Return the packet type of whatever has none of its own."""
    return f"{_WORD[direction]}_packet_t"


def type_of_port(port_type: str, direction: Direction) -> str | None:
    """Return the packet type that goes by name with a port type; None where the name tells none."""
    if not port_type.endswith(_PORT_SUFFIX):
        return None
    return f"{port_type.removesuffix(_PORT_SUFFIX)}_{_WORD[direction]}_packet_t"


def _segments(
    ports: Sequence[PortContext], usable: frozenset[str] | set[str], direction: Direction
) -> Iterator[Segment]:
    default = default_type(direction) if default_type(direction) in usable else None
    waiting: Segment | None = None
    for protocol in range(LAST_PROTOCOL + 1):
        whole = _ICMP if protocol in (ICMP, ICMPV6) and _ICMP in usable else default
        for interval, port_type in _port_types(ports, protocol):
            own = None if port_type is None else type_of_port(port_type, direction)
            label, named = (own, port_type) if own in usable else (whole, None)
            if label is None:
                continue
            start = protocol * PORTS
            services = Interval(start + interval.first, start + interval.last)
            segment = Segment(services, label, named or "")
            if waiting is not None and _continues(waiting, segment):
                segment = Segment(
                    Interval(waiting.services.first, services.last), label, named or ""
                )
            elif waiting is not None:
                yield waiting
            waiting = segment
    if waiting is not None:
        yield waiting


def _continues(one: Segment, following: Segment) -> bool:
    return (one.label, one.port_type) == (following.label, following.port_type) and (
        one.services.last + 1 == following.services.first
    )


def _port_types(
    ports: Sequence[PortContext], protocol: int
) -> Iterator[tuple[Interval, str | None]]:
    """Yield the type of every port; where contexts overlap, of the first (security_port_sid)."""
    mine = [context for context in ports if context.protocol == protocol]
    if not mine:  # as of nearly every protocol; a line of ports for each would take seconds
        yield Interval(0, PORTS - 1), None
        return
    line: list[str | None] = [None] * PORTS
    for context in reversed(mine):
        size = context.ports.last - context.ports.first + 1
        line[context.ports.first : context.ports.last + 1] = [context.port_type] * size
    at = 0
    for port_type, same in groupby(line):
        size = sum(1 for _ in same)
        yield Interval(at, at + size - 1), port_type
        at += size


def _report(policy: LoadedPolicy, usable: frozenset[str] | set[str]) -> Iterator[str]:
    if not policy.labels:
        yield (
            "The loaded policy brings no packet types of its own (none of attribute packet_type, "
            "none named ..._packet_t), so there is nothing to label ports with."
        )
        return
    forbidden = policy.labels.keys() - policy.relabel
    if forbidden:
        yield (
            f"Policy does not let the daemon label packets with {_named(forbidden)}; ports of "
            "theirs get the default type. 'make install' loads the module that lets it."
        )
    for direction, word in ((Direction.OUT, "reach"), (Direction.IN, "offer")):
        if default_type(direction) not in usable:
            yield (
                f"There is no usable type {default_type(direction)}: what we {word} on ports "
                "without a type of their own stays without label."
            )
    if _ICMP not in usable:
        yield f"There is no usable type {_ICMP}: ICMP gets the default type."
    kinds = {context.port_type for context in policy.ports}
    without = {k for k in kinds if not any(type_of_port(k, d) in policy.labels for d in Direction)}
    if without:
        yield f"Ports of {_named(without)} have no packet type of their own, and get the default."


def _named(names: frozenset[str] | set[str]) -> str:
    shown = ", ".join(sorted(names)[:_NAMED_AT_MOST])
    more = len(names) - _NAMED_AT_MOST
    return f"{shown} and {more} more" if more > 0 else shown
