"""Standard input and output, any of which may be closed, broken, full, or no terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TextIO


def say(text: str) -> bool:
    """Write ``text`` to standard output; tell whether it went there.

    Where the reader has gone, nothing is said of it: they know.
    """
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:
        _drop(sys.stdout)
        return False
    except OSError as error:
        _drop(sys.stdout)
        tell(f"appfwctl: The output could not be written ({error.strerror}).\n")
        return False
    return sys.stdout is not None


def tell(text: str) -> None:
    """Write ``text`` to standard error, if anybody can read it there."""
    try:
        _write(sys.stderr, text)
    except OSError:
        _drop(sys.stderr)


def for_people() -> bool:
    """Tell whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def interactive() -> bool:
    """Tell whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


async def ask(question: str) -> bool:
    """Ask a person; anything but a yes is a no, and so is everything where there is nobody."""
    if not interactive():
        return False
    tell(f"{question} [y/N] ")
    # Not a blocking read: the first interrupt from the keyboard would only be noted until it ends.
    answered = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, answered.set)
    try:
        await answered.wait()
    finally:
        loop.remove_reader(sys.stdin)
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except OSError:  # the terminal went away
        return False


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:  # None where it was closed before we began
        stream.write(text)
        stream.flush()


def _drop(stream: TextIO) -> None:
    """Have what the stream still holds go nowhere, or it would fail again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
