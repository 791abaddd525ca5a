"""What the parser knows: its commands and their modes, their options, arguments and choices."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from appfwd.cli.parser import build_parser


@dataclass(frozen=True)
class Command:
    """A command, or a mode of one (``bridge close``).

    It has long options, those of them that take a value with what that is called, arguments, the
    words that options and arguments take, and modes.
    """

    name: str
    options: frozenset[str]
    values: Mapping[str, str]
    arguments: tuple[str, ...]
    choices: frozenset[str]
    modes: tuple[str, ...]


def commands() -> tuple[Command, ...]:
    """Return every command of the parser, and after each of them its modes."""
    return tuple(_below("", build_parser()))


def names() -> frozenset[str]:
    """Return the names of commands, without their modes."""
    return frozenset(command.name.split()[0] for command in commands())


def general_options() -> frozenset[str]:
    """Return the options that stand before a command."""
    return _long(build_parser()._actions)


def _below(name: str, parser: argparse.ArgumentParser) -> Iterator[Command]:
    for word, command in _parsers(parser).items():
        yield _command(f"{name}{word}", command)
        yield from _below(f"{name}{word} ", command)


def _parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action.choices, dict):
            found.update(action.choices)
    return found


def _command(name: str, parser: argparse.ArgumentParser) -> Command:
    own = [action for action in parser._actions if not isinstance(action.choices, dict)]
    return Command(
        name,
        _long(own),
        {o: str(a.metavar or a.dest).upper() for a in own for o in a.option_strings if _valued(a)},
        tuple(a.dest for a in own if not a.option_strings and not a.choices),
        frozenset(str(word) for action in own for word in action.choices or ()),
        tuple(_parsers(parser)),
    )


def _valued(action: argparse.Action) -> bool:
    return action.nargs != 0 and not action.choices


def _long(actions: Iterable[argparse.Action]) -> frozenset[str]:
    return frozenset(o for a in actions for o in a.option_strings if o.startswith("--"))
