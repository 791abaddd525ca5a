"""What a change of the kernel's state came to, in few words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from appfwd.core.plan import Snapshot
from appfwd.core.table import Table


@dataclass(frozen=True)
class Work:
    """Packet types that the table names now and did not, and the other way about; and elements."""

    types_added: tuple[str, ...]
    types_removed: tuple[str, ...]
    labels_added: int
    labels_removed: int

    def row(self) -> dict[str, object]:
        """Return this as plain values, the sentence among them."""
        return {
            "text": self.text,
            "types_added": list(self.types_added),
            "types_removed": list(self.types_removed),
            "labels_added": self.labels_added,
            "labels_removed": self.labels_removed,
        }

    @property
    def text(self) -> str:
        """What was done, as a sentence."""
        if not (self.types_added or self.types_removed or self.labels_added or self.labels_removed):
            return "What was missing in the kernel or its policy is there again."
        return (
            f"Labels follow the policy again: {self.labels_added} new and {self.labels_removed} "
            f"gone, of {len(self.types_added)} new packet types and {len(self.types_removed)} gone."
        )


def work_of(before: Snapshot, after: Snapshot) -> Work:
    """Return the difference of two states of the kernel."""
    old, new = before.table or Table(), after.table or Table()
    had, has = _elements(old), _elements(new)
    return Work(
        tuple(sorted(set(new.contexts) - set(old.contexts))),
        tuple(sorted(set(old.contexts) - set(new.contexts))),
        len(has.items() - had.items()),
        len(had.items() - has.items()),
    )


def _elements(table: Table) -> Mapping[tuple[str, object], str]:
    found: dict[tuple[str, object], str] = {}
    for kind in (table.maps, table.points, table.lines):
        for name, elements in kind.items():
            found.update({(str(name), key): label for key, label in elements.items()})
    return found
