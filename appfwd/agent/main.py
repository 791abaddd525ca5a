"""The entry of appfwd-agent: connect both buses, and show what the daemon asks."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from appfwd import __version__
from appfwd.agent.prompts import Prompts
from appfwd.bus.asking import Asking
from appfwd.bus.notifications import Notifications
from appfwd.errors import AppfwdError, NotAuthorized, Unavailable

log = logging.getLogger(__name__)

#: Seconds for taking notifications away at the end.
_LAST_WORDS = 2.0
#: Seconds that a question may be shown.
_SHORTEST, _LONGEST = 1.0, 86_400.0


async def run(seconds: float) -> None:
    """Ask until told to stop, or a bus is lost.

    Raises:
        AppfwdError: there is no bus, or the daemon refuses this agent.

    """
    asking: Asking

    async def reply(*answer: object) -> dict[str, object]:
        return await asking.answer(*answer)  # type: ignore[arg-type]

    prompts = Prompts(reply, seconds)
    notifications = await Notifications.connect(prompts)
    prompts.server = notifications
    asking = await Asking.connect(prompts)
    try:
        await asking.register()
        log.info("asking with notifications")
    except NotAuthorized:
        raise
    except AppfwdError as error:
        log.warning("waiting for the daemon: %s", error)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    waits = [
        asyncio.ensure_future(one) for one in (stop.wait(), asking.wait(), notifications.wait())
    ]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        raise Unavailable("A bus closed the connection.")
    prompts.lost()
    with suppress(TimeoutError):
        await asyncio.wait_for(prompts.settled(), _LAST_WORDS)


def _seconds(text: str) -> float:
    seconds = float(text)
    # Not a number is within nothing.
    if not _SHORTEST <= seconds <= _LONGEST:
        msg = f"{text} is not from {_SHORTEST:g} to {_LONGEST:g}"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the agent; exit status as of the error that ended it (see appfwd.errors)."""
    parser = argparse.ArgumentParser(
        prog="appfwd-agent", description="Asks with desktop notifications what appfwd refused."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--verbose", action="store_true", help="log every detail")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long a question is shown (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    level = logging.DEBUG if chosen.verbose else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    try:
        asyncio.run(run(chosen.timeout))
    except AppfwdError as error:
        log.error("appfwd-agent: %s", error)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
