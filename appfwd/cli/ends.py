"""The end of a grant on the command line: the options that it comes to, and how it is said."""

from __future__ import annotations

import argparse

from appfwd.cli.durations import parse_length, parse_until
from appfwd.cli.render import length, when
from appfwd.cli.session import own_session


def add_end(command: argparse.ArgumentParser) -> None:
    """Have a command take an end."""
    end = command.add_mutually_exclusive_group()
    end.add_argument(
        "--for",
        dest="length",
        metavar="TIME",
        type=parse_length,
        help="end after it, like 10m, 1h, 7d",
    )
    end.add_argument(
        "--until",
        metavar="WHEN",
        type=parse_until,
        help="end at that time, like 18:00 or '2030-12-24 18:00'",
    )
    end.add_argument("--session", action="store_true", help="end with your login session")
    end.add_argument("--boot", action="store_true", help="end with this boot")


def end(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the options of a grant's end.

    Raises:
        AppfwdError: the caller is in no login session.

    """
    if arguments.length is not None:
        return {"for": arguments.length}
    if arguments.until is not None:
        return {"until": arguments.until}
    if arguments.session:
        return {"session": own_session()}
    return {"boot": True} if arguments.boot else {}


def until(arguments: argparse.Namespace) -> str:
    """Return the end of a grant in words; empty where there is none."""
    if arguments.length is not None:
        return f", for {length(arguments.length)}"
    if arguments.until is not None:
        return f", until {when(arguments.until)}"
    if arguments.session:
        return ", until your session ends"
    return ", until the machine goes down" if arguments.boot else ""
