"""Answers as text for people: aligned tables on a terminal, tabs where it is none."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from appfwd.cli.render_plan import plan_lines
from appfwd.model.request import harmless

Lines = Iterator[str]

#: What a planned member has not: it is neither ended nor without its domain.
_STANDING = {"dormant": False, "ended": False}


def render(kind: str, value: Any, *, terminal: bool) -> str:
    """Return ``value`` of ``kind`` (see appfwd.cli.commands.Answer) as lines of text."""
    return "".join(line + "\n" for line in _RENDERERS[kind](value, terminal))


def table(
    rows: Sequence[Sequence[str]], header: Sequence[str], *, terminal: bool, empty: str = ""
) -> Lines:
    """Yield ``rows`` under ``header``: padded columns for people, tabs for programs.

    Where there are none people are told ``empty``, a sentence.
    """
    if terminal and empty and not rows:
        yield empty
        return
    if not terminal:
        yield from ("\t".join(row) for row in rows)
        return
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()


def when(seconds: float, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return a Unix time as local time."""
    return time.strftime(form, time.localtime(seconds))


def length(seconds: int) -> str:
    """Return a length of time in its largest whole unit: 90m, 2h, 7d."""
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds % unit == 0:
            return f"{seconds // unit}{name}"
    return f"{seconds}s"


def goes_back(seconds: float) -> str:
    """Say when what is tried goes back (Unix time)."""
    at = when(seconds, "%Y-%m-%d %H:%M:%S")
    return f"goes back at {at}, unless you confirm with 'appfwctl confirm'"


def _done(value: Mapping[str, Any], _terminal: bool) -> Lines:  # noqa: FBT001
    yield value["result"]
    if "until" in value:
        until = value["until"]
        yield "nothing goes back: it was so before" if until is None else f"it {goes_back(until)}"


def _list(rows: Sequence[Mapping[str, Any]], terminal: bool) -> Lines:  # noqa: FBT001
    header = ("ID", "KIND", "DOMAIN", "DIRECTION", "DESTINATION", "SINCE", "NOTE")
    cells = [
        (
            row["id"],
            row["kind"],
            row["domain"] or "-",
            row["direction"] or "-",
            row["destination"] or "-",
            when(row["created"]) if row["created"] else "-",
            "; ".join(_notes(row)),
        )
        for row in rows
    ]
    yield from table(
        cells, header, terminal=terminal, empty="nothing is guarded, granted or fenced"
    )


def _notes(row: Mapping[str, Any]) -> Iterator[str]:
    if row["dormant"]:
        yield "dormant: the policy has no such domain"
    if row["ended"]:
        yield f"ended {when(row['ends'])}"
    elif row["session"]:
        yield f"until session {row['session']} ends"
    elif row["ends"] == math.inf:
        yield "until the machine goes down"
    elif row["ends"]:
        yield f"until {when(row['ends'])}"
    if row["spares"]:
        yield f"spares {' and '.join(row['spares'])}"


def _rules(value: Mapping[str, Any], terminal: bool) -> Lines:  # noqa: FBT001
    if not value["labels"] and terminal:
        yield "no label is in use: the kernel has no table of appfwd, or an empty one"
        return
    labels = [(r["label"], _who(r["send"]), _who(r["recv"])) for r in value["labels"]]
    yield from table(labels, ("LABEL", "SEND", "RECV"), terminal=terminal)
    yield ""
    elements = [
        (r["map"], r["peer"], r["protocols"], r["ports"], r["label"]) for r in value["elements"]
    ]
    header = ("MAP", "PEER", "PROTOCOL", "PORT", "LABEL")
    yield from table(elements, header, terminal=terminal)
    yield ""
    counts = [(r["map"], str(r["packets"]), str(r["bytes"])) for r in value["counters"]]
    yield from table(counts, ("MAP", "PACKETS", "BYTES"), terminal=terminal)


def _who(domains: Sequence[str]) -> str:
    if not domains:
        return "nobody"
    return ",".join(domains[:4]) + (f" and {len(domains) - 4} more" if len(domains) > 4 else "")


def _explain(value: Mapping[str, Any], _terminal: bool) -> Lines:  # noqa: FBT001
    note = "" if value["enforcing"] else " (but SELinux is permissive, so all passes)"
    yield f"{value['verdict']}{note}: {value['why']}"
    if value["guards"]:
        yield f"guarded by: {', '.join(value['guards'])}"
    if value["grants"]:
        yield f"granted by: {', '.join(value['grants'])}"
    if value["fenced"]:
        spared = f", but for {', '.join(value['spared'])}" if value["spared"] else ""
        yield f"fenced: what it is not granted is refused{spared}"
    if value["differs"]:
        yield value["differs"]
    yield value["remedy"]


def _who_reaches(rows: Sequence[Mapping[str, Any]], terminal: bool) -> Lines:  # noqa: FBT001
    cells = [(r["domain"], r["verdict"], r["through"], ",".join(r["labels"])) for r in rows]
    yield from table(
        cells,
        ("DOMAIN", "VERDICT", "THROUGH", "LABELS"),
        terminal=terminal,
        empty="no domain reaches it",
    )


def _plan(value: Mapping[str, Any], _terminal: bool) -> Lines:  # noqa: FBT001
    yield from plan_lines(value, lambda row: tuple(_notes({**row, **_STANDING})))


def _export(value: Mapping[str, Any], _terminal: bool) -> Lines:  # noqa: FBT001
    yield from value["document"].splitlines()


def _types(rows: Sequence[Mapping[str, Any]], terminal: bool) -> Lines:  # noqa: FBT001
    cells = [
        (
            row["source"],
            row["target"],
            ",".join(row["permissions"]),
            row["kind"],
            "yes" if row["holds"] else "no",
            row["condition"] or "-",
        )
        for row in rows
    ]
    header = ("SOURCE", "TARGET", "PERMISSIONS", "KIND", "HOLDS", "CONDITION")
    yield from table(
        cells, header, terminal=terminal, empty="the policy lets it do nothing with packets"
    )


def _domains(rows: Sequence[Mapping[str, Any]], terminal: bool) -> Lines:  # noqa: FBT001
    cells = [line for row in rows for line in _domain_lines(row, terminal=terminal)]
    header = ("DOMAIN", "PROCESSES", "GRANTS", "CONNECTED", "PROGRAMS")
    yield from table(cells, header, terminal=terminal, empty="nothing runs there")


def _domain_lines(row: Mapping[str, Any], *, terminal: bool) -> Iterator[tuple[str, ...]]:
    """Yield a domain: for people each connection and each program has a line of its own."""
    lists = (_connections(row), [*row["programs"], *_more(row["more_programs"])])
    fence = " (fenced)" if row["fenced"] else ""
    first = (row["domain"], str(row["processes"]), f"{row['grants']}{fence}")
    if not terminal:
        yield (*first, *(", ".join(one) for one in lists))
        return
    for cells in itertools.zip_longest(*lists, fillvalue=""):
        yield (*first, *cells)
        first = ("", "", "")
    if first[0]:
        yield (*first, "", "")
    if not row["complete"]:
        yield ("", "", "", "(not all of it could be read)", "")


def _connections(row: Mapping[str, Any]) -> list[str]:
    """Return where a domain is connected, alike ones once with their number."""
    alike = Counter(
        f"{one['direction']} {one['destination']}"
        + (f" in namespace {one['namespace']}" if one["namespace"] else "")
        for one in row["connections"]
    )
    said = [place + (f" ({count} times)" if count > 1 else "") for place, count in alike.items()]
    return [*said, *_more(row["more_connections"])]


def _more(count: int) -> list[str]:
    return [f"and {count} more"] if count else []


def _labels(value: Mapping[str, Any], terminal: bool) -> Lines:  # noqa: FBT001
    if terminal and not value["enabled"]:
        yield "The baseline is off; with 'appfwctl baseline on' ports would have these labels:"
    cells = [
        (
            row["protocol"],
            row["ports"],
            row["direction"],
            row["packet_type"],
            row["port_type"] or "-",
            "the policy's default" if row["default"] else "",
        )
        for row in value["rows"]
    ]
    header = ("PROTOCOL", "PORT", "DIRECTION", "LABEL", "PORT-TYPE", "NOTE")
    if cells or not terminal:
        yield from table(cells, header, terminal=terminal)
    if cells and value["report"]:
        yield ""
    yield from value["report"]


def _observed(rows: Sequence[Mapping[str, Any]], terminal: bool) -> Lines:  # noqa: FBT001
    cells = [
        (
            row["domain"],
            row["direction"],
            row["destination"],
            str(row["count"]),
            when(row["first"]),
            when(row["last"]),
            _fate(row),
            row["label"] or "-",
            row["remedy"],
        )
        for row in rows
    ]
    header = (
        *("DOMAIN", "DIRECTION", "DESTINATION", "COUNT", "FIRST", "LAST"),
        *("IF-CLOSED", "LABEL", "REMEDY"),
    )
    yield from table(
        cells,
        header,
        terminal=terminal,
        empty="nothing was observed; 'appfwctl bridge observe' records what has no label",
    )


def _fate(row: Mapping[str, Any]) -> str:
    """Return what becomes of something observed when the bridge is closed."""
    if row["loses"]:
        return "lost"
    return "granted" if row["granted"] else "passes"


def _status(value: Mapping[str, Any], _terminal: bool) -> Lines:  # noqa: FBT001
    yield f"appfwd {value['Version']}: {'in force' if value['Active'] else 'down'}"
    yield f"SELinux: {'enforcing' if value['Enforcing'] else 'permissive (nothing is refused)'}"
    yield f"baseline: {_on(value['Baseline'])}"
    yield f"bridge: {_mode(value['Bridge'], strict=value['Strict'])}"
    if value["Deadline"]:
        yield f"on trial: {goes_back(value['Deadline'])}"
    if value["Problem"]:
        yield f"problem: {value['Problem']}"
    yield from (f"warning: {warning}" for warning in value["Warnings"])


def _baseline(value: Mapping[str, Any], _terminal: bool) -> Lines:  # noqa: FBT001
    yield _on(value["baseline"])


def _bridge(value: Mapping[str, Any], _terminal: bool) -> Lines:  # noqa: FBT001
    yield _mode(value["bridge"], strict=value["strict"])


def _on(on: bool) -> str:  # noqa: FBT001
    return "on" if on else "off"


def _mode(mode: str, *, strict: bool) -> str:
    return f"{mode}{', strictly' if strict else ''}"


def _denied(rows: Sequence[Mapping[str, Any]], terminal: bool) -> Lines:  # noqa: FBT001
    cells = [
        (
            row["domain"],
            row["direction"],
            row["destination"],
            str(row["count"]),
            when(row["first"]),
            when(row["last"]),
            row["cause"] + (", blocked" if row["blocked"] else ""),
        )
        for row in rows
    ]
    header = ("DOMAIN", "DIRECTION", "DESTINATION", "COUNT", "FIRST", "LAST", "CAUSE")
    yield from table(cells, header, terminal=terminal, empty="nothing was refused")


def _pending(rows: Sequence[Mapping[str, Any]], terminal: bool) -> Lines:  # noqa: FBT001
    cells = [
        (
            row["id"],
            row["domain"],
            row["direction"],
            row["destination"],
            harmless(row["program"]) or "-",
            str(row["count"]),
            when(row["last"]),
        )
        for row in rows
    ]
    header = ("ID", "DOMAIN", "DIRECTION", "DESTINATION", "PROBABLY", "COUNT", "LAST")
    yield from table(cells, header, terminal=terminal, empty="nothing is asked")


def _blocked(rows: Sequence[Mapping[str, Any]], terminal: bool) -> Lines:  # noqa: FBT001
    cells = [
        (row["domain"], row["direction"], row["destination"], when(row["at"]), str(row["uid"]))
        for row in rows
    ]
    header = ("DOMAIN", "DIRECTION", "DESTINATION", "SINCE", "BY-UID")
    yield from table(cells, header, terminal=terminal, empty="nothing is blocked")


_RENDERERS: Mapping[str, Callable[[Any, bool], Lines]] = {
    "done": _done,
    "list": _list,
    "rules": _rules,
    "explain": _explain,
    "who": _who_reaches,
    "plan": _plan,
    "export": _export,
    "types": _types,
    "domains": _domains,
    "labels": _labels,
    "observed": _observed,
    "denied": _denied,
    "pending": _pending,
    "blocked": _blocked,
    "status": _status,
    "baseline": _baseline,
    "bridge": _bridge,
}
