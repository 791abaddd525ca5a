"""One place behind a server in namespace `peer`, and who reaches it."""

from .firewall import Firewall
from .lab.guest import Guest

HOST, PORT = "10.9.0.5", 3128
PLACE = f"{HOST}:{PORT}"
TRIED = ("mozilla_t", "named_t", "irc_t", "")


def only_mozilla(firewall: Firewall) -> None:
    """Guard the place and grant it to mozilla_t."""
    firewall.guard(PLACE)
    firewall.grant("mozilla_t", PLACE)


def reaching(guest: Guest) -> tuple[str, ...]:
    """Return which of the tried domains reach the place now."""
    return tuple(d for d in TRIED if guest.probe.reach(d, (HOST, PORT)) == "ok")


def holds(guest: Guest, *allowed: str) -> None:
    """Hold that the allowed domains, and no others, reach the place; the others are refused."""
    for domain in TRIED:
        outcome = guest.probe.reach(domain, (HOST, PORT))
        assert outcome == ("ok" if domain in allowed else "ECONNREFUSED"), domain
