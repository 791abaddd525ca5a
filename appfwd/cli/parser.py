"""What appfwctl takes on its command line; completions and the manual page are held to it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from appfwd import __version__
from appfwd.cli.durations import parse_duration
from appfwd.cli.ends import add_end
from appfwd.cli.requests import PLANNED

_DESTINATION = "like 10.0.0.5:3128, 10.0.0.0/8:80-90/tcp, [2001:db8::/32]:443, any:53/udp"
_DOMAIN = "an SELinux process type, like mozilla_t"
_EXIT = """exit status: 0 done; 1 failed; 2 wrong arguments; 3 unknown domain; 4 no such grant,
guard, fence, block or question, or nothing to confirm; 5 not authorised; 6 SELinux is off; 7
the policy lacks what is asked; 8 another module opens our packets; 9 the policy could not be
loaded; 10 nftables refused; 11 the kernel differs from what was asked; 12 the store failed; 13
busy; 14 the daemon cannot be reached. 'explain' exits with 20 where the verdict is denied and
21 where it is partly, and 'apply --check' with 22 where the document is not in force."""


class _Commands:
    """Commands, or the modes of one; each takes ``--json``, before or after its name."""

    def __init__(self, parser: argparse.ArgumentParser, **more: Any) -> None:
        self._parsers = parser.add_subparsers(**more)

    def add(self, name: str, text: str) -> argparse.ArgumentParser:
        """Add one, with what it does."""
        command: argparse.ArgumentParser = self._parsers.add_parser(
            name, help=text, description=text, allow_abbrev=False
        )
        command.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON"
        )
        return command


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        prog="appfwctl",
        description="Guard destinations and grant them to SELinux domains.",
        epilog=_EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    commands = _Commands(parser, dest="command", metavar="COMMAND", required=True)
    _guards(commands)
    _fences(commands)
    _grants(commands)
    _questions(commands)
    _baseline(commands.add("baseline", "label every port as the policy says (shown without more)"))
    _bridge(commands.add("bridge", "what becomes of packets without a label (shown without more)"))
    _observed(commands.add("observed", "unlabelled traffic that was seen under 'bridge observe'"))
    _asking(commands)
    commands.add("confirm", "make changes that were made with --for permanent")
    _whole(commands)
    commands.add("up", "bring what is stored back into force")
    down = commands.add("down", "take the table and the policy module away; what is stored stays")
    _yes(down)
    return parser


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; of ``plan`` the command that is planned too, as ``planned``."""
    parser = build_parser()
    arguments = parser.parse_args(words)
    if arguments.command == "plan":
        arguments.planned = planned = build_parser().parse_args(arguments.change)
        modes = PLANNED.get(planned.command)
        if modes is None or (modes and planned.mode not in modes):
            names = ", ".join(PLANNED)
            parser.error(f"what can be planned is a change: one of {names}")
        arguments.json = arguments.json or planned.json
    return arguments


def _whole(commands: _Commands) -> None:
    plan = commands.add("plan", "what another command would change, and who gains and who loses")
    plan.add_argument(
        "change", nargs=argparse.REMAINDER, help="the command, like: grant mozilla_t any:443"
    )
    apply = commands.add("apply", "make guards, grants and fences those of a document, all at once")
    what = apply.add_mutually_exclusive_group()
    what.add_argument(
        "--check", action="store_true", help="change nothing; exit with 22 where it would change"
    )
    what.add_argument(
        "--syntax", action="store_true", help="only see whether it is a document, without a daemon"
    )
    _yes(apply)
    apply.add_argument("file", help="a document as 'export' prints it; - is standard input")
    commands.add("export", "print the document of what is guarded, granted and fenced now")


def _guards(commands: _Commands) -> None:
    guard = commands.add("guard", "from now on nobody reaches a destination but who is granted it")
    _trial(guard)
    _yes(guard)
    _place(guard)
    _place(commands.add("unguard", "take a guard away"))


def _fences(commands: _Commands) -> None:
    fence = commands.add("fence", "shut a domain in: it goes nowhere but where it is granted")
    fence.add_argument("domain", help=_DOMAIN)
    fence.add_argument(
        "--no-loopback", action="store_true", help="not even to this machine's own 127.0.0.0/8, ::1"
    )
    fence.add_argument("--no-dns", action="store_true", help="not even to name servers (port 53)")
    _trial(fence)
    _yes(fence)
    unfence = commands.add("unfence", "take the fence of a domain away")
    unfence.add_argument("domain", help=_DOMAIN)


def _grants(commands: _Commands) -> None:
    grant = commands.add("grant", "open a destination to a domain, for good unless an end is given")
    add_end(grant)
    _yes(grant)
    _place(grant, domain=True)
    revoke = commands.add("revoke", "take a grant away; open connections stop at the next packet")
    _place(revoke, domain=True)


def _questions(commands: _Commands) -> None:
    explain = commands.add("explain", "whether a domain reaches a destination now, and why")
    _place(explain, domain=True)
    _place(commands.add("who", "every domain that reaches a destination now, and through what"))
    listing = commands.add("list", "grants, guards and fences")
    listing.add_argument("--kind", choices=("grant", "guard", "fence"), help="only these")
    listing.add_argument("--domain", help="only grants and the fence of this domain")
    types = commands.add("types", "what a domain may do with labelled packets, by the policy")
    types.add_argument("domain", help=_DOMAIN)
    domains = commands.add("domains", "what runs in each domain, and where it is connected now")
    domains.add_argument("--domain", help="only this domain")
    commands.add("rules", "labels, maps and counters, as they are in the kernel now")
    commands.add("status", "whether appfwd is in force")


def _baseline(command: argparse.ArgumentParser) -> None:
    modes = _Commands(command, dest="mode", metavar="MODE")
    for mode, text in (
        ("on", "label every port that the policy knows, both ways"),
        ("off", "label only what is guarded or granted"),
    ):
        change = modes.add(mode, text)
        _trial(change)
        _yes(change)
    modes.add("show", "the label of each port")


def _bridge(command: argparse.ArgumentParser) -> None:
    modes = _Commands(command, dest="mode", metavar="MODE")
    _trial(modes.add("open", "every domain may use packets without a label"))
    _trial(modes.add("observe", "the same, and what uses them is recorded"))
    close = modes.add("close", "only those domains may that the policy lets")
    close.add_argument(
        "--strict",
        action="store_true",
        help="have the kernel check packets even while nothing is labelled",
    )
    _trial(close)
    _yes(close)


def _observed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--domain", help="only what this domain did")
    command.add_argument(
        "--with-baseline", action="store_true", help="as it would be with the baseline on"
    )
    what = command.add_mutually_exclusive_group()
    what.add_argument(
        "--accept", action="store_true", help="grant what would be lost with the bridge closed"
    )
    what.add_argument("--forget", action="store_true", help="forget all of it")


def _asking(commands: _Commands) -> None:
    denied = commands.add("denied", "what was refused, how often, and why")
    denied.add_argument("--domain", help="only what this domain was refused")
    denied.add_argument("--forget", action="store_true", help="forget all of it")
    pending = commands.add("pending", "what is asked about refused network access")
    pending.add_argument("--domain", help="only what is asked for this domain")
    answer = commands.add("answer", "answer what is asked, by its id in 'pending'")
    answer.add_argument("asked", help="its id, or enough of its beginning")
    answer.add_argument("answer", choices=("allow", "block"), help="grant it, or ask never again")
    answer.add_argument(
        "--scope",
        choices=("place", "host", "port", "network", "domain"),
        help="more than the place: all of the host, the port anywhere, the network; with block "
        "whatever the domain asks for",
    )
    add_end(answer)
    commands.add("watch", "what is refused and observed, as it happens, and questions to answer")
    blocked = commands.add("blocked", "what nobody is asked about again")
    blocked.add_argument("--domain", help="only of this domain")
    unblock = commands.add("unblock", "have a place asked about again")
    _place(unblock, domain=True, app=False)


def _place(command: argparse.ArgumentParser, *, domain: bool = False, app: bool = True) -> None:
    command.add_argument(
        "--in",
        dest="inbound",
        action="store_true",
        help="peers connect to our port, instead of us to theirs",
    )
    if domain and app:
        command.add_argument(
            "--app",
            action="store_true",
            help="DOMAIN is a program: the domain that policy starts it in is meant",
        )
    if domain:
        command.add_argument("domain", help=_DOMAIN)
    command.add_argument("destination", help=_DESTINATION)


def _trial(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=parse_duration,
        help="go back after this time (like 60s, 5m, 1h), unless it is confirmed",
    )


def _yes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--yes", action="store_true", help="do not ask")
