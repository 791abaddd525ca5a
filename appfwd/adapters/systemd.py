"""The service manager and the journal: readiness, watchdog, structured records."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

try:
    from systemd import daemon, journal
except ImportError:  # outside of a service, as in a developer's virtual environment
    daemon = journal = None

log = logging.getLogger(__name__)


def start_logging(*, verbose: bool) -> None:
    """Log to the journal where it is our standard error, else to standard error."""
    handler: logging.Handler
    if journal is not None and "JOURNAL_STREAM" in os.environ:
        handler = journal.JournalHandler(SYSLOG_IDENTIFIER="appfwd")
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


def notify(state: str) -> None:
    """Tell the service manager, as sd_notify(3) has it; nothing where there is none.

    A service manager that cannot be told never makes a request fail.
    """
    if daemon is not None:
        try:
            daemon.notify(state)
        except OSError as error:
            log.warning("the service manager cannot be told: %s", error.strerror)


async def watchdog() -> None:
    """Send keep-alives at half the unit's WatchdogSec, from the event loop that must live."""
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    if not microseconds:
        return
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(microseconds / 2_000_000)
