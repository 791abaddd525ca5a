"""What a person is asked: the value that the daemon sends to agents, and that they parse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from appfwd.errors import InvalidArgument
from appfwd.model.ends import LAST_TIME


@dataclass(frozen=True)
class Request:
    """Whether ``domain`` may reach ``destination`` (direction ``out``), or be reached so (``in``).

    ``peer`` is the address alone. ``program`` is the name of whoever ran when the kernel refused
    the packet, which may be another task, and any program chooses its own; ``name`` is what the
    peer is called where that is known. Both are text of others, to be escaped wherever it is shown.
    ``count`` is how often it was refused, ``first`` and ``last`` when (Unix time). ``others`` are
    some places that the domain was kept from beside this one, of ``others_count``. ``host``,
    ``port`` and ``network`` are the destinations that wider answers are for; empty where there is
    no such.
    """

    id: str
    domain: str
    direction: str
    destination: str
    peer: str
    program: str
    name: str
    count: int
    first: float
    last: float
    others: tuple[str, ...]
    others_count: int
    host: str
    port: str
    network: str

    def row(self) -> dict[str, Any]:
        """Return the fields by name, as they go over the bus."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def parse(cls, row: Mapping[str, object]) -> Request:
        """Return the request in a row.

        Raises:
            InvalidArgument: a field is missing, of another type, or beyond its values.

        """
        values: dict[str, Any] = {}
        for one in fields(cls):
            value = row.get(one.name)
            if not _is(value, str(one.type)):
                raise InvalidArgument(f"A request without a proper field '{one.name}'.")
            values[one.name] = tuple(value) if isinstance(value, list) else value
        if values["direction"] not in ("in", "out"):
            raise InvalidArgument("A request's direction is 'in' or 'out'.")
        # Not a number is within nothing.
        if not all(0.0 <= values[key] <= LAST_TIME for key in ("first", "last")):
            raise InvalidArgument("A request's times are Unix times.")
        return cls(**values)


_TYPES: Mapping[str, type] = {"str": str, "int": int, "float": float}


def _is(value: object, kind: str) -> bool:
    if kind.startswith("tuple"):
        return isinstance(value, list | tuple) and all(type(part) is str for part in value)
    return type(value) is _TYPES[kind]


#: Characters of others' text that are shown.
_SHOWN_MAX = 64


def harmless(text: str, most: int = _SHOWN_MAX) -> str:
    """Return text of others as one line: printable characters alone, and at ``most`` so many.

    What steers a terminal, or turns the direction of writing, is not printable.
    """
    shown = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
