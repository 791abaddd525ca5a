"""What ways to lay out a map cost the kernel: one element more, one less, a lookup.

docs/speed.md tells which one was chosen, and why. The guest has no daemon.
"""

from collections.abc import Mapping
from typing import Any

from tests.guest.lab.store import base_snapshot, restore

from .guests import ask

SIZES, SECONDS = (1_000, 10_000, 100_000), 1800.0
TITLES = {
    "exact": "hosts in a hash map",
    "tree": "intervals of addresses alone (rbtree)",
    "concatenated": "address . protocol . ports, intervals (pipapo)",
    "sharded_16": "  16 of those behind a verdict map",
    "sharded_256": "  256 of those behind a verdict map",
    "refilled": "  one of those, made anew for each change",
}


def measure() -> dict[str, Any]:
    """Return what was measured, by layout and size."""
    with restore(base_snapshot()) as guest:
        found: dict[str, Any] = ask(guest, "layouts", "10.9.0.5", "peer", SIZES, seconds=SECONDS)
        return found


def figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return milliseconds by layout and size; microseconds that a lookup adds to a round trip."""
    without = found["none"]["lookup_us"]
    return {
        name: {
            size: row
            and {
                "add_ms": 1e3 * row["add_s"],
                "delete_ms": 1e3 * row["delete_s"],
                "fill_s": row["fill_s"],
                "lookup_us": row["lookup_us"] - without,
            }
            for size, row in found[name].items()
        }
        for name in TITLES
    }


def report(values: Mapping[str, Any]) -> None:
    """Print the table."""
    sizes = [*values["exact"]]
    print("ms to add, to delete one element, us that a lookup adds to a round trip; elements:")
    print(f"{'':50}" + "".join(f"{size:>24}" for size in sizes))
    for name, title in TITLES.items():
        cells = [_cell(values[name][size]) for size in sizes]
        print(f"{title:50}" + "".join(f"{cell:>24}" for cell in cells))


def _cell(row: Mapping[str, float] | None) -> str:
    if row is None:
        return "too long"
    return f"{row['add_ms']:.1f} / {row['delete_ms']:.1f} / {row['lookup_us']:.0f}"
