"""Our table on a kernel without SELinux: with counters in the place of its secmark objects.

Every expression, lookup and reference to an object is what it is with labels, and a counter is no
cheaper to evaluate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from appfwd.adapters.nft import LibNft
from tests.bus.fakes import FakeNft, Faults

COUNTER = "counter"

Json = Mapping[str, Any]


def counting(commands: Sequence[Json]) -> Iterator[Json]:
    """Yield a table's commands with counters for its secmark objects, and for nobody's own."""
    for command in commands:
        ((verb, what),) = command.items()
        ((kind, value),) = what.items()
        if kind == "secmark":
            kind, value = COUNTER, {key: value[key] for key in ("family", "table", "name")}
        elif kind == "table":
            value = {key: value[key] for key in value if key != "flags"}
        elif kind == "map" and "map" in value:
            value = {**value, "map": COUNTER}
        elif kind == "rule":
            value = {**value, "expr": [_counting(expr) for expr in value["expr"]]}
        yield {verb: {kind: value}}


def _counting(expr: Json) -> Json:
    return {COUNTER: expr["secmark"]} if "secmark" in expr else expr


class CountedNft(FakeNft):
    """A stand-in that is read; what is written, the kernel of this machine does too."""

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults)
        self._real = LibNft()

    async def kept(self, commands: Sequence[Json]) -> None:
        """Have the kernel do it."""
        await self._real.run([*counting(commands)])
