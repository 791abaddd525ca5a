"""Command line: `python3 -m tests.guest.lab build` makes what the tests need."""

import argparse
import sys

from .errors import LabError
from .host import say
from .store import Snapshot, base_snapshot, restore

COMMAND_SECONDS = 600.0


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.guest.lab", description="The guest test lab.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="make the guest and its snapshot, unless they are cached")
    shell = commands.add_parser("run", help="run a command in a fresh guest")
    shell.add_argument("words", nargs="+", help="passed to bash")
    chosen = parser.parse_args()
    try:
        snapshot = base_snapshot()
        if chosen.command == "run":
            return _run(snapshot, " ".join(chosen.words))
        say(str(snapshot.path))
    except LabError as error:
        say(str(error))
        return 1
    return 0


def _run(snapshot: Snapshot, command: str) -> int:
    with restore(snapshot) as guest:
        result = guest.run(command, timeout=COMMAND_SECONDS)
    print(result.out, end="")
    print(result.err, end="", file=sys.stderr)
    return result.rc


if __name__ == "__main__":
    sys.exit(main())
