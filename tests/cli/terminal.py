"""appfwctl on a terminal, with the real daemon."""

from __future__ import annotations

import os
import pty
import subprocess
from contextlib import suppress

from tests.bus.running import Daemon
from tests.cli.conftest import MODULE


def on_terminal(daemon: Daemon, *arguments: str, answer: str = "") -> tuple[int, str, str]:
    """Run appfwctl with a terminal; return its status, its output there, and its errors."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        daemon.program(MODULE, *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=daemon.world.environment,
        text=True,
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    shown = b""
    with suppress(OSError):  # EIO: the other end is closed
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    _, errors = process.communicate()
    return process.returncode, shown.decode().replace("\r\n", "\n"), errors
