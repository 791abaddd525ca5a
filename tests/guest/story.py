"""A story in docs/: commands with what they print, and programs that reach a place or do not.

Blocks fenced as `console` have commands after `# ` and below each what it prints, `…` standing for
anything. Comments `<!-- DOMAIN reaches HOST:PORT -->` and `is refused` are tries in between.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_TRY = re.compile(r"<!-- (\w+) (reaches|is refused) ([0-9.]+):(\d+) -->")


@dataclass
class Command:
    """A command, and the lines that it prints in order."""

    line: str
    output: list[str] = field(default_factory=list)

    def missing(self, text: str) -> list[str]:
        """Return the lines that `text` lacks; what it has beside them counts for nothing."""
        lines = [_plain(line) for line in text.splitlines()]
        return [
            wanted
            for wanted in self.output
            if not any(re.fullmatch(_pattern(wanted), line) for line in lines)
        ]


@dataclass(frozen=True)
class Try:
    """A program in a domain that tries to reach a place."""

    domain: str
    host: str
    port: int
    reaches: bool


def told(path: Path) -> Iterator[Command | Try]:
    """Yield what happens in the story at `path`, in order."""
    command: Command | None = None
    inside = False
    for line in path.read_text().splitlines():
        found = _TRY.fullmatch(line)
        if found:
            domain, verb, host, port = found.groups()
            yield Try(domain, host, int(port), verb == "reaches")
        elif line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("# "):
            if command:
                yield command
            command = Command(line.removeprefix("# "))
            continue
        elif inside and command:
            command.output.append(line)
            continue
        if not inside and command:
            yield command
            command = None


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in _plain(line).split("…"))


def _plain(line: str) -> str:
    return " ".join(line.split())
