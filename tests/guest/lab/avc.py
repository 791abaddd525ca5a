"""AVC records of the kernel's log."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_RECORD = re.compile(r"avc:\s+(denied|granted)\s+\{ ([^}]*) \} for\s+(.*)")
_FIELD = re.compile(r'(\w+)=("[^"]*"|\S+)')


@dataclass(frozen=True)
class Avc:
    """One AVC record."""

    denied: bool
    permissions: tuple[str, ...]
    fields: dict[str, str]
    """Its other fields, unquoted: comm, saddr, daddr, dest, scontext, tcontext, tclass, ..."""

    @property
    def source(self) -> str:
        """The subject's type."""
        return context_type(self.fields.get("scontext", ""))

    @property
    def target(self) -> str:
        """The object's type."""
        return context_type(self.fields.get("tcontext", ""))

    @property
    def tclass(self) -> str:
        """The object's class."""
        return self.fields.get("tclass", "")

    @property
    def permissive(self) -> bool:
        """True if the access was let through all the same."""
        return self.fields.get("permissive") == "1"

    def __str__(self) -> str:
        kind = "denied" if self.denied else "granted"
        rest = " ".join(f"{name}={value}" for name, value in self.fields.items())
        return f"{kind} {{ {' '.join(self.permissions)} }} {rest}"


def parse_avcs(lines: Iterable[str]) -> list[Avc]:
    """Return the AVC records among log lines."""
    return [
        Avc(
            denied=found[1] == "denied",
            permissions=tuple(found[2].split()),
            fields={name: value.strip('"') for name, value in _FIELD.findall(found[3])},
        )
        for line in lines
        if (found := _RECORD.search(line))
    ]


def context_type(context: str) -> str:
    """Return the type of a security context."""
    parts = context.split(":")
    return parts[2] if len(parts) > 2 else context
