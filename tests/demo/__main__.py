"""Run a demonstration: `python3 -m tests.demo main`; exit status 0 only if all went as expected."""

import sys

from .bridge import bridge
from .fence import fence
from .main_job import main_job
from .prompt import prompt
from .stage import Stage

DEMOS = {"main": main_job, "bridge": bridge, "fence": fence, "prompt": prompt}
#: Those that a person is logged in for.
DESKTOP = {"prompt"}


def run(name: str) -> int:
    """Run one demonstration and return its exit status."""
    if name not in DEMOS:
        print(f"There is no demonstration {name!r}; those known: {', '.join(DEMOS)}.")
        return 2
    with Stage.ready(desktop=name in DESKTOP) as stage:
        DEMOS[name](stage)
        return stage.close_with_count()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1] if len(sys.argv) > 1 else "main"))
