"""Where a demonstration is shown: commands, who reached what, denials, and the count at the end."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.guest.desktop import desktop_snapshot
from tests.guest.firewall import SECONDS, installed_snapshot
from tests.guest.lab.guest import Guest
from tests.guest.lab.store import base_snapshot, restore

BOLD, GREEN, RED, DIM, PLAIN = "\033[1m", "\033[32m", "\033[31m", "\033[2m", "\033[0m"


@dataclass
class Stage:
    """A guest with appfwd running, and the outcomes so far."""

    guest: Guest
    expected: int = 0
    surprises: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def ready(cls, *, desktop: bool = False) -> Iterator["Stage"]:
        """Build the guest where it is not cached, and yield a stage in it."""
        begun = time.monotonic()
        snapshot = installed_snapshot(base_snapshot())
        if desktop:
            snapshot = desktop_snapshot(snapshot)
        with restore(snapshot) as guest:
            print(f"The guest is ready after {time.monotonic() - begun:.0f} s.")
            yield cls(guest)

    def say(self, text: str) -> None:
        """Begin a part of the story."""
        print(f"\n{_colour(BOLD)}# {text}{_colour(PLAIN)}", flush=True)

    def command(self, line: str, *, status: int = 0, says: str = "") -> str:
        """Run a shell command as root, show it with its output, and hold its exit status."""
        print(f"$ {line}")
        result = self.guest.run(line, timeout=SECONDS)
        for text in (result.out + result.err).splitlines():
            print(f"  {text}")
        self._outcome(f"exit status {result.rc}", line, ok=result.rc == status)
        if says:
            self._outcome(f"says {says!r}", line, ok=says in result.out + result.err)
        return result.out

    def program(self, domain: str, words: list[str], what: str, *, reaches: bool) -> None:
        """Start a real program in a domain; what it prints must have `hello` if it gets through."""
        mark = self.guest.mark()
        result = self.guest.run_as(domain, words, timeout=30)
        got = "hello" in result.out
        self._outcome(
            f"{domain}: {what} {'reached it' if got else 'was refused'}", what, ok=got is reaches
        )
        if not reaches:
            self._denial(domain, mark)

    def probe(self, text: str, outcome: str, wanted: str) -> None:
        """Hold the outcome of a socket action."""
        self._outcome(f"{text}: {outcome}", text, ok=outcome == wanted)

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Return what is listed of a kind and in force."""
        shown = self.guest.run(["appfwctl", "--json", "list", "--kind", kind], check=True).out
        return [row for row in json.loads(shown) if not row["ended"]]

    def now(self) -> float:
        """Return the Unix time of the guest."""
        return float(self.guest.run("date +%s.%N", check=True).out)

    def close_with_count(self) -> int:
        """Print the count as the last line; return the exit status."""
        total = self.expected + len(self.surprises)
        for surprise in self.surprises:
            print(f"{_colour(RED)}not as expected: {surprise}{_colour(PLAIN)}")
        print(f"\n{self.expected} of {total} outcomes were as expected")
        return 1 if self.surprises else 0

    def _denial(self, domain: str, mark: int) -> None:
        denials = [
            avc
            for avc in self.guest.wait_avcs(mark)
            if avc.tclass == "packet" and avc.source == domain
        ]
        for avc in denials[:1]:
            print(f"  {_colour(DIM)}kernel: avc: {avc}{_colour(PLAIN)}")
        self._outcome("the kernel recorded the denial", domain, ok=bool(denials))

    def _outcome(self, text: str, what: str, *, ok: bool) -> None:
        mark = (
            f"{_colour(GREEN)}ok{_colour(PLAIN)}" if ok else f"{_colour(RED)}NOT OK{_colour(PLAIN)}"
        )
        print(f"  [{mark}] {text}", flush=True)
        if ok:
            self.expected += 1
        else:
            self.surprises.append(f"{what}: {text}")


def _colour(code: str) -> str:
    return code if sys.stdout.isatty() else ""
