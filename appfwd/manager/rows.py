"""Rows of answers: what is known, as plain values with fixed keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from appfwd.core.elements import Key
from appfwd.core.lines import LineMap, Segment
from appfwd.core.module import Module
from appfwd.core.table import Table
from appfwd.model.destination import Direction
from appfwd.model.ends import Finish
from appfwd.model.fence import Fence
from appfwd.model.running import Connection, Running
from appfwd.model.services import LAST_PROTOCOL, PROTOCOL_NAMES, Interval, ServiceBox, service_boxes
from appfwd.model.state import Ended, Guard, Member
from appfwd.ports import Record, Rows

Row = dict[str, Any]
_ALL_PORTS = (0, 65535)
#: Programs of one domain that a row names.
PROGRAMS_AT_MOST = 100


def entry_row(
    member: Member, record: Record, domains: frozenset[str] | None, end: Finish | None = None
) -> Row:
    """Return a member as a row; ``dormant`` where the policy lacks its domain.

    A fence has no destination and direction; ``spares`` says where it does not hold. ``ends`` is
    when a grant does: a Unix time, infinite for the end of the boot or of a login session, whose
    id ``session`` is then, and 0 for never.
    """
    destination = None if isinstance(member, Fence) else member.destination
    domain = "" if isinstance(member, Guard) else member.domain
    return {
        "id": record.id,
        "kind": type(member).__name__.lower(),
        "domain": domain,
        "destination": "" if destination is None else str(destination),
        "direction": "" if destination is None else destination.direction.value,
        "spares": _spared(member) if isinstance(member, Fence) else [],
        "ends": 0.0 if end is None else end.at,
        "session": "" if end is None else end.session,
        "ended": False,
        "created": record.created,
        "uid": record.uid,
        "dormant": bool(domain) and domains is not None and domain not in domains,
    }


def _spared(fence: Fence) -> list[str]:
    return [name for name in ("loopback", "dns") if getattr(fence, name)]


def ended_at(one: Ended) -> tuple[float, str]:
    """Return what grants that ended are ordered by."""
    return (one.at, one.id)


def ended_row(one: Ended, domains: frozenset[str]) -> Row:
    """Return a grant that ended as a row; ``ends`` is when that was."""
    row = entry_row(one.grant, Record(one.id, 0.0, 0), domains, Finish(one.at))
    return {**row, "ended": True}


def running_row(running: Running, grants: int, connections: int) -> Row:
    """Return a domain as a row: its grants counted, and at most so many connections.

    The lists are cut, and ``more_programs`` and ``more_connections`` say how much was left out.
    """
    return {
        "domain": running.domain,
        "programs": list(running.programs[:PROGRAMS_AT_MOST]),
        "more_programs": len(running.programs[PROGRAMS_AT_MOST:]),
        "processes": running.processes,
        "grants": grants,
        "connections": Rows(_connection_row(one) for one in running.connections[:connections]),
        "more_connections": len(running.connections[connections:]),
        "complete": running.complete,
    }


def _connection_row(one: Connection) -> Row:
    return {
        "direction": one.direction.value,
        "destination": one.destination,
        "protocol": PROTOCOL_NAMES.get(one.protocol, str(one.protocol)),
        "local": one.local.host,
        "local_port": one.local.port,
        "peer": one.peer.host,
        "peer_port": one.peer.port,
        "namespace": one.namespace,
    }


def element_rows(table: Table) -> Iterator[Row]:
    """Yield the elements of every map, in order of the maps' names."""
    for name, elements in sorted(table.maps.items(), key=lambda item: str(item[0])):
        for key, label in sorted(elements.items()):
            yield _element_row(str(name), name.direction, key, label)
    for name, points in sorted(table.points.items(), key=lambda item: str(item[0])):
        for point, label in sorted(points.items()):
            key = Key.of_point(name.family, point)
            yield _element_row(str(name), name.direction, key, label)
    for line, intervals in sorted(table.lines.items(), key=lambda item: str(item[0])):
        for interval, label in sorted(intervals.items()):
            yield _line_row(line, interval, label)


def label_row(name: str, table: Table, module: Module) -> Row:
    """Return a label of the table, with the users that our module gives it."""
    rights = module.users(table.type_of(name))
    return {
        "label": name,
        "context": table.contexts[name],
        "send": sorted(rights.send),
        "recv": sorted(rights.recv),
    }


def segment_rows(direction: Direction, segment: Segment) -> Iterator[Row]:
    """Yield a segment of the baseline as rows of protocols by ports."""
    for box in service_boxes(segment.services):
        yield {
            "direction": direction.value,
            "protocol": _protocols(box),
            "ports": _ports(box),
            "port_type": segment.port_type,
            "packet_type": segment.label,
            "default": not segment.port_type,
        }


def _element_row(name: str, direction: Direction, key: Key, label: str) -> Row:
    return {
        "map": name,
        "direction": direction.value,
        "peer": str(key.peer),
        "protocols": _protocols(key.service),
        "ports": _ports(key.service),
        "label": label,
    }


def _line_row(line: LineMap, interval: Interval, label: str) -> Row:
    whole = Interval(*_ALL_PORTS)
    if line.protocol is None:
        box = ServiceBox(interval, whole)
    else:
        box = ServiceBox(Interval(line.protocol, line.protocol), interval)
    return {
        "map": str(line),
        "direction": line.direction.value,
        "peer": "any",
        "protocols": _protocols(box),
        "ports": _ports(box),
        "label": label,
    }


def _protocols(box: ServiceBox) -> str:
    first, last = box.protocols.first, box.protocols.last
    return "any" if (first, last) == (0, LAST_PROTOCOL) else _span(first, last, PROTOCOL_NAMES)


def _ports(box: ServiceBox) -> str:
    return _span(box.ports.first, box.ports.last, {})


def _span(first: int, last: int, names: Mapping[int, str]) -> str:
    if first == last:
        return names.get(first, str(first))
    return f"{first}-{last}"
