"""What one element more, one less, and a lookup cost in ways to lay out a map of labels.

All by libnftables in this process, each change a transaction of its own. A lookup is part of a
datagram's way out to another network namespace; another comes back. Prints seconds for each size
of each layout; null where filling it, or one smaller, took too long.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import nftables  # type: ignore[import-untyped,unused-ignore]

from .traffic import PORT, round_trip_us

TABLE = {"family": "inet", "table": "layouts"}
ROUNDS, FEW = 15, 3
#: Seconds that filling may take; of what takes longer no larger one is tried.
PATIENCE = 20.0
#: Seconds that one added and deleted may take if it is to be repeated often, and at all.
SLOW, SLOWEST = 0.5, 5.0
CHUNK = 5_000
#: The second byte of the address that the datagrams go to.
SECOND = 9

Commands = list[dict[str, Any]]
Element = list[Any]
_context = nftables.Nftables()
_context.set_json_output(val=True)


def run(commands: Commands) -> float:
    """Run one transaction; return its seconds."""
    text = json.dumps({"nftables": commands})
    begun = time.monotonic()
    code, _, error = _context.cmd(text)
    if code:
        raise RuntimeError(error)
    return time.monotonic() - begun


class Layout:
    """One way: the maps, which element goes where, and the rules that look up.

    Networks are 16 addresses wide, at 10.A.B.C with one number for each; the last is the one that
    the datagrams go to.
    """

    kind: Any = ("ipv4_addr", "inet_proto", "inet_service")
    interval = True
    shards = 1

    def __init__(self, target: str) -> None:
        self.target = target

    def key(self, address: Any, number: int) -> Any:
        """Return the key of one element."""
        return {"concat": [address, "udp", {"range": [PORT, PORT + number % 100]}]}

    def element(self, number: int) -> Element:
        """Return the element of a number; -1 is the one that packets find."""
        if number < 0:
            return [self.key(self.target, 0), 1]
        first = f"10.{128 | number >> 12}.{number >> 4 & 255}.{number % 16 << 4}"
        return [self.key({"prefix": {"addr": first, "len": 28}}, number), 1]

    def shard(self, number: int) -> int:
        """Return the map of an element."""
        return (SECOND if number < 0 else number) % self.shards

    def create(self) -> Commands:
        """Return what makes the maps, empty, and the rules."""
        flags = {"flags": ["interval"]} if self.interval else {}
        return [
            {"add": {"map": {**TABLE, "name": f"m{n}", "type": self.kind, "map": "mark", **flags}}}
            for n in range(self.shards)
        ] + self.rules()

    def rules(self) -> Commands:
        """Return the rules that look up."""
        return [_rule("output", [_lookup(self.packet_key(), 0)])]

    def packet_key(self) -> Any:
        """Return what of a packet is looked up."""
        return {
            "concat": [_field("ip", "daddr"), {"meta": {"key": "l4proto"}}, _field("th", "dport")]
        }

    def add(self, numbers: Sequence[int]) -> Commands:
        """Return what adds elements."""
        return self._change("add", numbers)

    def delete(self, number: int) -> Commands:
        """Return what deletes one."""
        return self._change("delete", [number])

    def _change(self, verb: str, numbers: Sequence[int]) -> Commands:
        by_map: dict[int, list[Element]] = {}
        for number in numbers:
            element = self.element(number)
            by_map.setdefault(self.shard(number), []).append(
                element if verb == "add" else element[0]
            )
        return [
            {verb: {"element": {**TABLE, "name": f"m{n}", "elem": elements}}}
            for n, elements in by_map.items()
        ]


class Concatenated(Layout):
    """Addresses by protocol by ports, all of them intervals (pipapo)."""


class Tree(Layout):
    """Intervals of addresses alone (rbtree): no protocol, no ports."""

    kind = "ipv4_addr"

    def key(self, address: Any, number: int) -> Any:
        del number
        return address

    def packet_key(self) -> Any:
        return _field("ip", "daddr")


class Exact(Layout):
    """One service of one host each (hash)."""

    interval = False

    def key(self, address: Any, number: int) -> Any:
        host = address if isinstance(address, str) else address["prefix"]["addr"]
        return {"concat": [host, "udp", PORT + number % 100]}


class Sharded(Concatenated):
    """256 of the first kind, chosen by the second byte of the address."""

    shards = 256

    def element(self, number: int) -> Element:
        if number < 0:
            return super().element(number)
        rest = number // self.shards
        second = self.shard(number) + self.shards * (rest >> 11)
        first = f"10.{second}.{128 | rest >> 4 & 127}.{rest % 16 << 4}"
        return [self.key({"prefix": {"addr": first, "len": 28}}, number), 1]

    def rules(self) -> Commands:
        made: Commands = []
        for n in range(self.shards):
            made.append({"add": {"chain": {**TABLE, "name": f"c{n}"}}})
            made.append(_rule(f"c{n}", [_lookup(self.packet_key(), n)]))
        byte = {"&": [_field("ip", "daddr"), f"0.{self.shards - 1}.0.0"]}
        ways = [[f"0.{n}.0.0", {"jump": {"target": f"c{n}"}}] for n in range(self.shards)]
        return [*made, _rule("output", [{"vmap": {"key": byte, "data": {"set": ways}}}])]


class SixteenShards(Sharded):
    """The same with 16, by half of that byte."""

    shards = 16


class Refilled(Concatenated):
    """The first kind, made anew with all its elements for each change."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.held: list[int] = []

    def add(self, numbers: Sequence[int]) -> Commands:
        self.held += numbers
        return self._anew() if len(self.held) > len(numbers) else super().add(numbers)

    def delete(self, number: int) -> Commands:
        self.held.remove(number)
        return self._anew()

    def _anew(self) -> Commands:
        chain = {"chain": {**TABLE, "name": "output"}}
        old = {"delete": {"map": {**TABLE, "name": "m0"}}}
        return [{"flush": chain}, old, *self.create(), *self._change("add", self.held)]


LAYOUTS: dict[str, Callable[[str], Layout]] = {
    "concatenated": Concatenated,
    "tree": Tree,
    "exact": Exact,
    "sharded_16": SixteenShards,
    "sharded_256": Sharded,
    "refilled": Refilled,
}


def _field(protocol: str, name: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": name}}


def _lookup(key: Any, number: int) -> dict[str, Any]:
    found = {"map": {"key": key, "data": f"@m{number}"}}
    return {"mangle": {"key": {"meta": {"key": "mark"}}, "value": found}}


def _rule(chain: str, expressions: list[dict[str, Any]]) -> dict[str, Any]:
    return {"add": {"rule": {**TABLE, "chain": chain, "expr": expressions}}}


def begin() -> None:
    """Make the table, with nothing in it but the chain."""
    table = {"family": TABLE["family"], "name": TABLE["table"]}
    hook = {"type": "filter", "hook": "output", "prio": -150, "policy": "accept"}
    chain = {"add": {"chain": {**TABLE, "name": "output", **hook}}}
    run([{"add": {"table": table}}, {"delete": {"table": table}}, {"add": {"table": table}}, chain])


def measured(layout: Layout, size: int, netns: str) -> dict[str, float]:
    """Fill a layout, change it and look it up."""
    begin()
    run(layout.create())
    filling = sum(fill(layout, size))
    added: list[float] = []
    deleted: list[float] = []
    rounds = ROUNDS
    while len(added) < rounds:
        number = size + len(added)
        added.append(run(layout.add([number])))
        deleted.append(run(layout.delete(number)))
        took = added[0] + deleted[0]
        rounds = ROUNDS if took < SLOW else FEW if took < SLOWEST else 1
    return {
        "fill_s": filling,
        "add_s": statistics.median(added),
        "delete_s": statistics.median(deleted),
        "lookup_us": round_trip_us(layout.target, netns),
    }


def fill(layout: Layout, size: int) -> Iterator[float]:
    """Add all elements but one, and the one that packets find."""
    numbers = [-1, *range(size - 1)]
    step = len(numbers) if isinstance(layout, Refilled) else CHUNK
    spent = 0.0
    for first in range(0, len(numbers), step):
        took = run(layout.add(numbers[first : first + step]))
        spent += took
        yield took
        if spent > 4 * PATIENCE:
            raise TimeoutError


def main(address: str, netns: str, sizes: Sequence[int]) -> None:
    """Measure, and print it."""
    begin()
    found: dict[str, Any] = {"none": {"lookup_us": round_trip_us(address, netns)}}
    for name, make in LAYOUTS.items():
        rows: dict[int, dict[str, float] | None] = {}
        long = False
        for size in sizes:
            try:
                rows[size] = None if long else measured(make(address), size, netns)
            except TimeoutError:
                rows[size] = None
            row = rows[size]
            long = row is None or row["fill_s"] > PATIENCE or row["add_s"] > PATIENCE / 4
        found[name] = rows
    print(json.dumps(found))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
