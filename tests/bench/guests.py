"""Programs of inside/ in a guest: brought there, run, and their answer."""

import json
from pathlib import Path
from typing import Any

from tests.guest.lab.guest import Guest

INSIDE = Path(__file__).with_name("inside")
THERE = "/root/bench"


def bring(guest: Guest) -> None:
    """Write the programs into a guest, as a package in THERE."""
    guest.push_tree(INSIDE, f"{THERE}/{INSIDE.name}")


def words_of(name: str, *arguments: object) -> list[str]:
    """Return the command, to be run in THERE, that runs a program with arguments."""
    return ["python3", "-m", f"{INSIDE.name}.{name}", json.dumps(arguments)]


def ask(guest: Guest, name: str, *arguments: object, seconds: float) -> Any:
    """Run a program in a guest; return what it printed, from JSON."""
    bring(guest)
    words = words_of(name, *arguments)
    return json.loads(guest.run(words, check=True, timeout=seconds, cwd=THERE).out)
