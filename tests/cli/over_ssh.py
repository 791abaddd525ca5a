"""appfwctl with a made-up /proc above it: ``python -m tests.cli.over_ssh FOLDER ARGUMENTS``."""

from __future__ import annotations

import signal
import sys
from functools import partial
from pathlib import Path
from unittest.mock import patch

from appfwd.cli.connection import own_connection
from appfwd.cli.main import main as appfwctl
from tests.cli.processes import SELF


def main() -> int:
    """Run once; an interrupt is one even where whoever started the tests ignores it (nohup)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found = partial(own_connection, proc=Path(sys.argv.pop(1)), pid=SELF)
    with patch("appfwd.cli.preview.own_connection", found):
        return appfwctl()


if __name__ == "__main__":
    sys.exit(main())
