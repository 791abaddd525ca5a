"""`python3 -m tests.guest` makes the guests that the tests restore, unless they are cached."""

import sys

from .desktop import desktop_snapshot
from .firewall import installed_snapshot
from .lab.errors import LabError
from .lab.host import say
from .lab.store import Snapshot, base_snapshot


def main() -> int:
    """Make them; return the exit status."""
    try:
        for snapshot in _made():
            say(str(snapshot.path))
    except LabError as error:
        say(str(error))
        return 1
    return 0


def _made() -> list[Snapshot]:
    base = base_snapshot()
    installed = installed_snapshot(base)
    return [
        *(base, installed),
        installed_snapshot(base_snapshot(processors=2)),
        *(desktop_snapshot(parent, "alice", "bob") for parent in (base, installed)),
    ]


if __name__ == "__main__":
    sys.exit(main())
