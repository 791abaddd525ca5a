"""What the parser knows: its commands, their options, arguments and choices."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from appfwd.cli.parser import build_parser


@dataclass(frozen=True)
class Command:
    """A command with its long options, its arguments, and the words that each of them takes."""

    name: str
    options: frozenset[str]
    arguments: tuple[str, ...]
    choices: frozenset[str]


def commands() -> tuple[Command, ...]:
    """Return every command of the parser."""
    (subparsers,) = (
        action for action in _actions(build_parser()) if isinstance(action.choices, dict)
    )
    assert isinstance(subparsers.choices, dict)
    return tuple(_command(name, parser) for name, parser in subparsers.choices.items())


def general_options() -> frozenset[str]:
    """Return the options that stand before a command."""
    return _long(_actions(build_parser()))


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions


def _command(name: str, parser: argparse.ArgumentParser) -> Command:
    actions = _actions(parser)
    arguments = tuple(action.dest for action in actions if not action.option_strings)
    return Command(name, _long(actions), arguments, frozenset(_choices(actions)))


def _long(actions: Iterable[argparse.Action]) -> frozenset[str]:
    return frozenset(o for a in actions for o in a.option_strings if o.startswith("--"))


def _choices(actions: Iterable[argparse.Action]) -> Iterator[str]:
    for action in actions:
        yield from map(str, action.choices or ())
