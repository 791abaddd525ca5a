"""The domain that policy starts a program in, for ``--app``: asked of the kernel, like execve(2).

A program's file has a type; policy says which domain a process of some domain comes into by
executing a file of that type (type_transition, class process), and it stays in its own where policy
says nothing. Where any other program comes into the same domain that is not the program's own. Who
starts it is not known: the caller's domain is tried first, as for a program of a session, then that
of init, as for a service.
"""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from appfwd.cli.console import ask, tell
from appfwd.errors import AppfwdError, InvalidArgument, SelinuxDisabled, shown

SELINUXFS, PROC = Path("/sys/fs/selinux"), Path("/proc")
_LABEL = "security.selinux"
#: The label of programs that have no domain of their own, in policies made of the reference policy.
_NO_DOMAIN = "system_u:object_r:bin_t:s0"


@dataclass(frozen=True)
class Start:
    """How a program starts: in ``domain``, from ``starter``; ``own`` where policy says so."""

    program: str
    domain: str
    starter: str
    own: bool

    def text(self) -> str:
        """Return this as a sentence for people."""
        if self.own:
            return f"{self.program} starts in {self.domain} (from {self.starter})."
        return (
            f"Policy has no domain for {self.program}: from {self.starter} it runs in "
            f"{self.domain}, like all else there, and so does this concern all of them."
        )


async def name_domain(arguments: argparse.Namespace) -> None:
    """Have the domain of ``--app PROGRAM`` stand where the program was named, and tell of it.

    Raises:
        AppfwdError: as for :func:`start_of`; or a grant would be to a domain that is not the
            program's own, and nobody agreed to that.

    """
    planned = getattr(arguments, "planned", arguments)
    if not getattr(planned, "app", False):
        return
    start = start_of(planned.domain)
    tell(f"{start.text()}\n")
    planned.domain = start.domain
    if start.own or arguments.command != "grant" or arguments.yes:
        return
    if not await ask("Grant it all the same?"):
        msg = f"Nothing was done. With --yes it is granted to {start.domain} without asking."
        raise AppfwdError(msg)


def start_of(program: str, selinuxfs: Path = SELINUXFS, proc: Path = PROC) -> Start:
    """Return how a program starts, which is a path or a name that is looked up in PATH.

    Raises:
        InvalidArgument: there is no such program.
        SelinuxDisabled: the kernel has no SELinux.
        AppfwdError: its label cannot be read, or the policy may not be asked.

    """
    path = _found(program)
    if not (selinuxfs / "create").exists():
        msg = "SELinux is off on this machine, so no policy says where a program starts."
        raise SelinuxDisabled(msg)
    label, name = _label(path), shown(str(path)).strip("'")
    starters = [_context(proc / who / "attr" / "current") for who in ("self", "1")]
    known = [one for one in dict.fromkeys(starters) if one]
    if not known:
        msg = "The domain that you run in cannot be read, so neither is that of the program known."
        raise AppfwdError(msg)
    if os.statvfs(path).f_flag & os.ST_NOSUID:  # nobody changes domain there (selinux hooks.c)
        return Start(name, _type(known[0]), _type(known[0]), own=False)
    for starter in known:
        domain = _type(_created(starter, label, selinuxfs))
        if domain not in (_type(starter), _usual(starter, selinuxfs)):
            return Start(name, domain, _type(starter), own=True)
    return Start(name, _type(known[0]), _type(known[0]), own=False)


def _found(program: str) -> Path:
    found = shutil.which(program)
    if found is None:
        msg = (
            f"There is no program {shown(program)}: give its path, or a name that PATH has; "
            "it must be executable."
        )
        raise InvalidArgument(msg)
    return Path(found).resolve()


def _label(path: Path) -> str:
    try:
        return os.getxattr(path, _LABEL).rstrip(b"\0").decode("ascii")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        msg = f"The SELinux label of {shown(str(path))} cannot be read ({why}); name the domain."
        raise AppfwdError(msg) from error


def _context(path: Path) -> str:
    try:
        return path.read_bytes().rstrip(b"\0\n").decode("ascii")
    except (OSError, ValueError):
        return ""


def _created(starter: str, label: str, selinuxfs: Path) -> str:
    """Return the context that a process of ``starter`` comes into by executing ``label``."""
    try:
        number = int((selinuxfs / "class/process/index").read_text("ascii"))
        with (selinuxfs / "create").open("r+b", buffering=0) as asked:
            asked.write(f"{starter} {label} {number}".encode("ascii"))
            return asked.read(4096).rstrip(b"\0").decode("ascii")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it answers in another form"
        msg = (
            f"The loaded policy cannot be asked where the program starts ({why}); name the domain. "
            "'sesearch -T -c process' tells."
        )
        raise AppfwdError(msg) from error


def _usual(starter: str, selinuxfs: Path) -> str:
    """Return the domain that ``starter`` starts programs in that have none (of init, initrc_t)."""
    try:
        return _type(_created(starter, _NO_DOMAIN, selinuxfs))
    except AppfwdError:  # a policy without that type
        return _type(starter)


def _type(context: str) -> str:
    parts = context.split(":")
    return parts[2] if len(parts) > 2 else ""
