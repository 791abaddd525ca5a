"""One exception tree; each class fixes its D-Bus error name and the exit status of appfwctl.

A message is a whole sentence that says what happened and what to do about it. It is shown to
people as it is, so it never holds raw input: quote input with :func:`shown`.
"""

from __future__ import annotations

from typing import ClassVar

_PREFIX = "org.appfwd1.Error."
_SHOWN_MAX = 80


def shown(text: str) -> str:
    """Return hostile ``text`` made fit for a message: quoted, escaped, at most 80 characters."""
    cut = text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"
    return ascii(cut) if not cut.isprintable() else f"'{cut}'"


class AppfwdError(Exception):
    """Anything that appfwd refuses or fails to do; the base of all others."""

    name: ClassVar[str] = "Failed"
    exit_status: ClassVar[int] = 1

    @classmethod
    def dbus_name(cls) -> str:
        """Return the D-Bus error name, such as ``org.appfwd1.Error.UnknownDomain``."""
        return _PREFIX + cls.name


class InvalidArgument(AppfwdError):
    """An argument or option is not of its grammar; nothing was done."""

    name, exit_status = "InvalidArgument", 2


class InvalidDestination(InvalidArgument):
    """A destination cannot be parsed; ``position`` counts characters from 0."""

    name = "InvalidDestination"

    def __init__(self, message: str, text: str = "", position: int = 0) -> None:
        super().__init__(message)
        self.text, self.position = text, position


class InvalidDomain(InvalidArgument):
    """A domain's name is not an SELinux identifier."""

    name = "InvalidDomain"


class InvalidOption(InvalidArgument):
    """An option's key is unknown or its value is of the wrong type."""

    name = "InvalidOption"


class InvalidDocument(InvalidArgument):
    """A document of the desired state is wrong somewhere; each line begins with the place."""

    name = "InvalidDocument"


class UnknownDomain(AppfwdError):
    """The loaded policy has no such domain (or it is an attribute, or a type of no process)."""

    name, exit_status = "UnknownDomain", 3


class NotFound(AppfwdError):
    """There is no such grant, guard or block to take away, or question to answer."""

    name, exit_status = "NotFound", 4


class NotAuthorized(AppfwdError):
    """polkit did not authorise the caller."""

    name, exit_status = "NotAuthorized", 5


class SelinuxDisabled(AppfwdError):
    """The kernel runs without SELinux, or without a loaded policy."""

    name, exit_status = "SelinuxDisabled", 6


class PolicyUnsupported(AppfwdError):
    """The policy or its toolchain lacks what is asked for."""

    name, exit_status = "PolicyUnsupported", 7


class NotExclusive(AppfwdError):
    """The loaded policy lets others use one of our packet types; the change was rolled back."""

    name, exit_status = "NotExclusive", 8


class PolicyLoadFailed(AppfwdError):
    """``semodule`` failed; the old policy is in force."""

    name, exit_status = "PolicyLoadFailed", 9


class TableFailed(AppfwdError):
    """The kernel refused an nftables transaction; the old table is in force."""

    name, exit_status = "TableFailed", 10


class VerifyFailed(AppfwdError):
    """What was read back from the kernel is not what was asked of it."""

    name, exit_status = "VerifyFailed", 11


class StoreFailed(AppfwdError):
    """The desired state could not be read or written durably."""

    name, exit_status = "StoreFailed", 12


class Busy(AppfwdError):
    """Too many requests are under way, or another program holds the policy store."""

    name, exit_status = "Busy", 13


class Unavailable(AppfwdError):
    """The daemon, the bus or polkit cannot be reached."""

    name, exit_status = "Unavailable", 14


def all_errors() -> tuple[type[AppfwdError], ...]:
    """Return every class of the tree, the base first."""
    found: list[type[AppfwdError]] = [AppfwdError]
    for cls in found:
        found.extend(cls.__subclasses__())
    return tuple(found)


def by_dbus_name(name: str) -> type[AppfwdError] | None:
    """Return the class whose D-Bus error name is ``name``, or None for a foreign one."""
    return next((cls for cls in all_errors() if cls.dbus_name() == name), None)
