"""Errors: each class has a name on the bus and an exit status that scripts can tell apart."""

from __future__ import annotations

import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd import errors
from appfwd.errors import AppfwdError, all_errors, by_dbus_name, shown

_EVERY = [
    cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, AppfwdError)
]
_KINDS = pytest.mark.parametrize("cls", _EVERY)


def test_the_tree_is_whole() -> None:
    assert set(_EVERY) <= set(all_errors())
    assert len(_EVERY) > 10


def test_every_class_has_a_bus_name_of_its_own() -> None:
    assert len({cls.dbus_name() for cls in _EVERY}) == len(_EVERY)


@_KINDS
def test_a_bus_name_is_valid_and_leads_back(cls: type[AppfwdError]) -> None:
    """The grammar of D-Bus error names (D-Bus specification, "Valid Names")."""
    assert re.fullmatch(r"org\.appfwd1\.Error\.[A-Z][A-Za-z0-9]*", cls.dbus_name())
    assert len(cls.dbus_name()) <= 255
    assert by_dbus_name(cls.dbus_name()) is cls


@_KINDS
def test_an_exit_status_tells_failure(cls: type[AppfwdError]) -> None:
    """Not 0, and below 126, from where on the shell has meanings of its own."""
    assert 0 < cls.exit_status < 126


def test_exit_statuses_tell_kinds_apart() -> None:
    """Classes share a status only with the class that they specialise."""
    for cls in _EVERY:
        for other in _EVERY:
            if cls.exit_status == other.exit_status:
                related = issubclass(cls, other) or issubclass(other, cls)
                siblings = cls.__base__ is other.__base__ is errors.InvalidArgument
                assert related or siblings, (cls, other)


@_KINDS
def test_every_class_says_what_it_means(cls: type[AppfwdError]) -> None:
    assert cls.__doc__
    assert str(cls("A sentence.")) == "A sentence."


def test_a_foreign_name_is_no_class_of_ours() -> None:
    assert by_dbus_name("org.freedesktop.DBus.Error.Failed") is None


@given(st.text(max_size=200))
def test_shown_text_is_printable_and_short(text: str) -> None:
    found = shown(text)
    assert found.isprintable()
    assert found[0] in "'\""
    assert found[0] == found[-1]
    assert text.isprintable() is False or len(found) <= 82
