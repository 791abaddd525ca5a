"""What appfwctl takes on its command line; completions and the manual page are held to it."""

from __future__ import annotations

import argparse

from appfwd import __version__

_DESTINATION = "like 10.0.0.5:3128, 10.0.0.0/8:80-90/tcp, [2001:db8::/32]:443, any:53/udp"
_EXIT = """exit status: 0 done; 1 failed; 2 wrong arguments; 3 unknown domain; 4 no such grant or
guard; 5 not authorised; 6 SELinux is off; 7 the policy lacks what is asked; 8 another module opens
our packets; 9 the policy could not be loaded; 10 nftables refused; 11 the kernel differs from what
was asked; 12 the store failed; 13 busy; 14 the daemon cannot be reached. 'explain' exits with 20
where the verdict is denied and 21 where it is partly."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser. Every command takes ``--json``, before or after its name."""
    parser = argparse.ArgumentParser(
        prog="appfwctl",
        description="Guard destinations and grant them to SELinux domains.",
        epilog=_EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON"
        )
        return command

    _changes(add("guard", "from now on nobody reaches a destination but who is granted it"))
    _changes(add("unguard", "take a guard away"))
    _changes(add("grant", "open a destination to a domain"), domain=True)
    _changes(
        add("revoke", "take a grant away; open connections stop at the next packet"), domain=True
    )
    _changes(add("explain", "whether a domain reaches a destination now, and why"), domain=True)
    listing = add("list", "grants and guards")
    listing.add_argument("--kind", choices=("grant", "guard"), help="only these")
    listing.add_argument("--domain", help="only grants of this domain")
    add("rules", "labels, maps and counters, as they are in the kernel now")
    add("status", "whether appfwd is in force")
    bridge = add("bridge", "what becomes of packets without a label (shown without an argument)")
    bridge.add_argument(
        "mode",
        nargs="?",
        choices=("open", "close"),
        help="who may use them: all, or as policy says",
    )
    add("up", "bring the stored guards and grants back into force")
    down = add("down", "take the table and the policy module away; the stored state stays")
    down.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _changes(command: argparse.ArgumentParser, *, domain: bool = False) -> None:
    command.add_argument(
        "--in",
        dest="inbound",
        action="store_true",
        help="peers connect to our port, instead of us to theirs",
    )
    if domain:
        command.add_argument("domain", help="an SELinux process type, like mozilla_t")
    command.add_argument("destination", help=_DESTINATION)
