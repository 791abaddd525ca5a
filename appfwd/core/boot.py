"""What the next boot may load before the daemon is there: which state, and its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from appfwd.core.nft import Json, table_commands
from appfwd.core.table import Table
from appfwd.model.state import DesiredState

#: Elements in one command: writing them as text holds up nobody for more than some milliseconds.
_AT_ONCE = 1000


def state_at_boot(state: DesiredState) -> DesiredState | None:
    """Return the part of ``state`` that a boot may bring into force without asking a clock.

    None where there is none. Grants with an end are left out: when it is loaded they may be over,
    and without them only less is allowed. What is on trial goes back at the boot, and policy has
    it until then, so there is no state that both are of; trials are short.
    """
    if not state.settings.active or state.trials:
        return None
    if not state.endings:
        return state
    grants = state.grants - {ending.grant for ending in state.endings}
    return replace(state, grants=grants, endings=frozenset(), ended=frozenset())


def boot_commands(table: Table) -> list[Json]:
    """Return the transaction that makes ``table`` where none of ours is; empty for an empty one.

    It creates the table, so it fails as a whole where there is one already: added to that, every
    rule would stand twice. Equal tables give equal commands.
    """
    ordered = replace(table, chains=dict(sorted(table.chains.items())))
    commands = table_commands(Table(), ordered)
    if not commands:
        return []
    create: Json = {"create": commands[0]["add"]}
    return [create, *_in_parts(commands[1:])]


def _in_parts(commands: Iterable[Json]) -> Iterator[Json]:
    for command in commands:
        element = command.get("add", {}).get("element")
        if element is None:
            yield command
            continue
        rows = element["elem"]
        for start in range(0, len(rows), _AT_ONCE):
            yield {"add": {"element": {**element, "elem": rows[start : start + _AT_ONCE]}}}
