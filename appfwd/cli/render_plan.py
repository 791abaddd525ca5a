"""A plan as lines of text for people: what differs, who gains, who loses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Lines = Iterator[str]

#: Lines of each part, and names in a line; ``--json`` has more.
_SHOWN, _NAMES = 40, 4
_SIGNS = {"add": "+", "remove": "-", "end": "~"}


def plan_lines(
    value: Mapping[str, Any], notes: Callable[[Mapping[str, Any]], Sequence[str]]
) -> Lines:
    """Yield a plan's lines; ``notes`` gives the words for the end and exceptions of a member."""
    members = [_member(row) + _noted(notes(row)) for row in value["members"]]
    settings = [f"  ~ {r['setting']}: {r['before']} -> {r['after']}" for r in value["settings"]]
    if value["trials_over"]:
        yield f"{_count(value['trials_over'], 'change')} on trial would not go back any more"
    if not (members or settings or value["policy"] or value["commands"] or value["trials_over"]):
        yield "nothing would change"
        return
    total = value["members_total"] + len(settings)
    yield from _part("asked for", [*settings, *members], total)
    effects = [line for row in value["effects"] for line in _effect(row)]
    yield from _part("who gains and who loses", effects, None)
    more = value["effects_total"] - len(value["effects"])
    if more > 0:
        yield f"  and {more} more"
    loads = value["policy_loads"]
    title = f"policy, {_count(loads, 'load')}"
    yield from _part(title, [f"  {line}" for line in value["policy"]], value["policy_total"])
    title = (
        f"table, {_count(value['commands_total'], 'command')} "
        f"in {_count(value['transactions'], 'transaction')}"
    )
    rows = [_element(row) for row in value["elements"]]
    yield from _part(title, rows, value["elements_total"], always=bool(value["commands"]))


def _part(title: str, lines: Sequence[str], total: int | None, *, always: bool = False) -> Lines:
    if not lines and not always:
        return
    yield f"{title}:" if lines else title
    yield from lines[:_SHOWN]
    more = (len(lines) if total is None else total) - len(lines[:_SHOWN])
    if more > 0:
        yield f"  and {more} more"


def _member(row: Mapping[str, Any]) -> str:
    words = [row["kind"], row["domain"], row["direction"], row["destination"]]
    return f"  {_SIGNS[row['change']]} {' '.join(word for word in words if word)}"


def _noted(notes: Sequence[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""


def _effect(row: Mapping[str, Any]) -> Lines:
    where = _names(row["where"], row["where_total"])
    for sign, key, word in (("+", "gains", "reach"), ("-", "loses", "lose")):
        if row[key]:
            verb = word if row[f"{key}_total"] > 1 else {"reach": "reaches", "lose": "loses"}[word]
            yield f"  {sign} {_names(row[key], row[f'{key}_total'])} {verb} {where}"


def _element(row: Mapping[str, Any]) -> str:
    words = (row["map"], row["peer"], row["protocols"], row["ports"], "->", row["label"])
    return f"  {_SIGNS[row['change']]} {' '.join(word for word in words if word)}"


def _names(found: Sequence[str], total: int) -> str:
    shown = found[:_NAMES]
    more = total - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
