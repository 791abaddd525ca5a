"""What a planned change comes to, as plain values; long lists are cut, and their length is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from appfwd.core.boxtext import box_texts
from appfwd.core.effects import Effect
from appfwd.core.foresight import Foresight, table_of
from appfwd.manager.rows import Row, element_rows, entry_row
from appfwd.model.ends import Finish
from appfwd.model.options import PAGE_AT_MOST
from appfwd.model.policy import KernelContexts
from appfwd.model.state import DesiredState, Member, Settings
from appfwd.ports import Record, Rows

#: Effects that a plan names, and domains and places of each.
EFFECTS_AT_MOST, NAMES_AT_MOST = 100, 200
#: A command that fills a map can have all of its elements.
COMMAND_AT_MOST = 4000

Ends = Mapping[Member, Finish]


def state_part(before: DesiredState, after: DesiredState, old_ends: Ends, new_ends: Ends) -> Row:
    """Return the members that would come, go, or end at another time, and settings that differ.

    ``trials_over`` counts what is on trial now and would not be: it would stay, or go, for good.
    """
    until = {"add": new_ends, "remove": old_ends, "end": new_ends}
    ends_differ = {ending.grant for ending in before.endings ^ after.endings}
    members = [
        *(("remove", member) for member in before.beyond(after)),
        *(("end", grant) for grant in ends_differ & before.grants & after.grants),
        *(("add", member) for member in after.beyond(before)),
    ]
    rows = [
        {"change": change, **_member_row(member, until[change].get(member))}
        for change, member in members
    ]
    rows.sort(key=_order)
    return {
        "members": Rows(rows[:PAGE_AT_MOST]),
        "members_total": len(rows),
        "trials_over": len(before.trials - after.trials),
        "settings": _settings_rows(before.settings, after.settings),
    }


def _member_row(member: Member, end: Finish | None) -> Row:
    row = entry_row(member, Record("", 0.0, 0), None, end)
    keys = ("kind", "domain", "direction", "destination", "spares", "ends", "session")
    return {key: row[key] for key in keys}


def _order(row: Row) -> tuple[str, ...]:
    return tuple(row[key] for key in ("kind", "domain", "direction", "destination", "change"))


def _settings_rows(before: Settings, after: Settings) -> Rows:
    old, new = _words(before), _words(after)
    return Rows(
        {"setting": name, "before": old[name], "after": new[name]}
        for name in old
        if old[name] != new[name]
    )


def _words(settings: Settings) -> Mapping[str, str]:
    return {
        "active": "yes" if settings.active else "no",
        "baseline": "on" if settings.baseline else "off",
        "bridge": settings.bridge.value + (", strictly" if settings.strict else ""),
    }


def effects_part(found: Sequence[Effect]) -> Row:
    """Return who would gain and who would lose what."""
    return {
        "effects": Rows(_effect_row(effect) for effect in found[:EFFECTS_AT_MOST]),
        "effects_total": len(found),
    }


def _effect_row(effect: Effect) -> Row:
    where = box_texts(effect.where)
    return {
        "where": list(where[:NAMES_AT_MOST]),
        "where_total": len(where),
        **_names("gains", effect.gains),
        **_names("loses", effect.loses),
    }


def _names(key: str, domains: Iterable[str]) -> Row:
    names = sorted(domains)
    return {key: names[:NAMES_AT_MOST], f"{key}_total": len(names)}


def kernel_part(foresight: Foresight, contexts: KernelContexts) -> Row:
    """Return what would be done to policy and table: differences, and the very commands."""
    elements = _element_changes(foresight)
    lines = foresight.policy_lines(contexts)
    commands = [_command(c) for transaction in foresight.transactions for c in transaction]
    return {
        "policy": list(lines[:PAGE_AT_MOST]),
        "policy_total": len(lines),
        "policy_loads": foresight.policy_loads,
        "elements": Rows(elements[:PAGE_AT_MOST]),
        "elements_total": len(elements),
        "commands": commands[:PAGE_AT_MOST],
        "commands_total": len(commands),
        "transactions": len(foresight.transactions),
    }


def _element_changes(foresight: Foresight) -> list[Row]:
    old, new = table_of(foresight.before), table_of(foresight.after)
    return [
        *({"change": "remove", **row} for row in element_rows(old.beyond(new))),
        *({"change": "add", **row} for row in element_rows(new.beyond(old))),
    ]


def _command(command: Mapping[str, object]) -> str:
    text = json.dumps(command, separators=(",", ":"))
    return text if len(text) <= COMMAND_AT_MOST else text[: COMMAND_AT_MOST - 1] + "…"
