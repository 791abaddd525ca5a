"""Answers as text for people: aligned tables on a terminal, tabs where it is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Lines = Iterator[str]


def render(kind: str, value: Any, *, terminal: bool) -> str:
    """Return ``value`` of ``kind`` (see appfwd.cli.commands.Answer) as lines of text."""
    return "".join(line + "\n" for line in _RENDERERS[kind](value, terminal))


def table(rows: Sequence[Sequence[str]], header: Sequence[str], *, terminal: bool) -> Lines:
    """Yield ``rows`` under ``header``: padded columns for people, tabs for programs."""
    if not terminal:
        yield from ("\t".join(row) for row in rows)
        return
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _done(value: Mapping[str, Any], _terminal: bool) -> Lines:  # noqa: FBT001
    yield value["result"]


def _list(rows: Sequence[Mapping[str, Any]], terminal: bool) -> Lines:  # noqa: FBT001
    if not rows and terminal:
        yield "nothing is guarded or granted"
        return
    header = ("ID", "KIND", "DOMAIN", "DIRECTION", "DESTINATION", "SINCE", "NOTE")
    cells = [
        (
            row["id"],
            row["kind"],
            row["domain"] or "-",
            row["direction"],
            row["destination"],
            time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"])),
            "dormant: the policy has no such domain" if row["dormant"] else "",
        )
        for row in rows
    ]
    yield from table(cells, header, terminal=terminal)


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
    yield value["remedy"]


def _status(value: Mapping[str, Any], _terminal: bool) -> Lines:  # noqa: FBT001
    yield f"appfwd {value['Version']}: {'in force' if value['Active'] else 'down'}"
    yield f"SELinux: {'enforcing' if value['Enforcing'] else 'permissive (nothing is refused)'}"
    yield f"bridge: {value['Bridge']}"
    if value["Problem"]:
        yield f"problem: {value['Problem']}"
    yield from (f"warning: {warning}" for warning in value["Warnings"])


def _bridge(value: Mapping[str, Any], _terminal: bool) -> Lines:  # noqa: FBT001
    yield value["bridge"]


_RENDERERS: Mapping[str, Callable[[Any, bool], Lines]] = {
    "done": _done,
    "list": _list,
    "rules": _rules,
    "explain": _explain,
    "status": _status,
    "bridge": _bridge,
}
