"""Sockets of domains whose policy has no right to what they try, once it is labelled."""

from collections.abc import Callable, Mapping

from .lab.guest import Guest
from .services import FAR, OURS, OURS6, PEER, PEER6

REFUSED = "ECONNREFUSED"
STUB = "127.0.0.53"


def send(guest: Guest, domain: str, target: tuple[str, int]) -> str:
    """Return what becomes of a datagram from a domain."""
    attempt = guest.probe.open(domain, target, kind="udp")
    if attempt.ok:
        attempt = attempt.opened().send(b"x")
    return attempt.outcome


def connect(guest: Guest, domain: str, target: tuple[str, int]) -> str:
    """Return what becomes of a connection of a domain, to a server that is there."""
    return guest.probe.open(domain, target).outcome


def connect_to_new(guest: Guest, domain: str, target: tuple[str, int], netns: str) -> str:
    """Return what becomes of a connection to a server that is there only meanwhile."""
    server = guest.probe.serve(target, netns=netns)
    outcome = connect(guest, domain, target)
    server.close()
    return outcome


def served(guest: Guest, domain: str, target: tuple[str, int]) -> str:
    """Return what becomes of a connection from `peer` to a server of a domain."""
    server = guest.probe.serve(target, domain=domain)
    outcome = guest.probe.open("", target, netns="peer", seconds=2).outcome
    server.close()
    return outcome


def instead_of_sshd(guest: Guest, domain: str) -> str:
    """Return what becomes of a connection from `peer` to a domain that has taken sshd's port."""
    guest.run("systemctl stop ssh", check=True)
    return served(guest, domain, (OURS, 22))


def at_the_stub(guest: Guest, domain: str) -> str:
    """Return what becomes of a datagram to systemd-resolved's stub."""
    guest.run("systemctl start systemd-resolved", check=True)
    return send(guest, domain, (STUB, 53))


def on_loopback(guest: Guest, server: str, client: str) -> str:
    """Return what becomes of a connection between two domains on loopback."""
    listener = guest.probe.serve(("127.0.0.1", 3128), domain=server)
    outcome = guest.probe.open(client, ("127.0.0.1", 3128), seconds=2).outcome
    listener.close()
    return outcome


#: For each kind of service somebody without the right, and how the closed machine refuses it.
WITHOUT_RIGHT: Mapping[str, tuple[str, Callable[[Guest], str]]] = {
    "ssh in": ("TIMEOUT", lambda g: instead_of_sshd(g, "mozilla_t")),
    "ssh out": (REFUSED, lambda g: connect(g, "mozilla_t", (PEER, 22))),
    "DNS": (REFUSED, lambda g: send(g, "dhcpc_t", (PEER, 53))),
    "DNS, tcp": (REFUSED, lambda g: connect(g, "dhcpc_t", (PEER, 53))),
    "DNS by the stub": (REFUSED, lambda g: at_the_stub(g, "dhcpc_t")),
    "DHCP": (REFUSED, lambda g: send(g, "mozilla_t", (PEER, 67))),
    "NTP": (REFUSED, lambda g: send(g, "mozilla_t", (PEER, 123))),
    "http": (REFUSED, lambda g: connect(g, "postgresql_t", (PEER, 80))),
    "http, IPv6": (REFUSED, lambda g: connect(g, "postgresql_t", (PEER6, 80))),
    "ping": (REFUSED, lambda g: g.probe.ping("named_t", PEER).outcome),
    "ping, IPv6": (REFUSED, lambda g: g.probe.ping("named_t", PEER6).outcome),
    "path MTU": (REFUSED, lambda g: connect_to_new(g, "postgresql_t", (FAR, 80), "far")),
    "loopback, client": (REFUSED, lambda g: on_loopback(g, "squid_t", "chromium_t")),
    "loopback, server": ("TIMEOUT", lambda g: on_loopback(g, "mozilla_t", "mozilla_t")),
    "a port of no type": (REFUSED, lambda g: connect_to_new(g, "mozilla_t", (PEER, 4), "peer")),
    "a server of no type": ("TIMEOUT", lambda g: served(g, "mozilla_t", (OURS6, 4))),
}
