"""Grants side by side, revocation of what is under way, inbound, protocols and ranges."""

import pytest

from .firewall import Firewall
from .lab.guest import Guest
from .lab.probe import ProbeSocket

HOST, BESIDE, HOST6 = "10.9.0.5", "10.9.0.6", "fd09::5"
PORT = 3128


@pytest.fixture(scope="module", autouse=True)
def servers(firewall: Firewall) -> None:
    """Serve echo in namespace `peer` on two hosts and three ports."""
    probe = firewall.guest.probe
    for kind in ("tcp", "udp"):
        for address in (HOST, BESIDE, HOST6, "fd09::6"):
            for port in (PORT, PORT + 1, PORT + 2):
                probe.serve((address, port), kind=kind, netns="peer")


def reached(guest: Guest, domain: str, *targets: tuple[str, int], kind: str = "tcp") -> list[str]:
    return [guest.probe.reach(domain, target, kind=kind) for target in targets]


def test_two_domains_are_granted_one_place(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(f"{HOST}:{PORT}")
    firewall.grant("mozilla_t", f"{HOST}:{PORT}")
    firewall.grant("named_t", f"{HOST}:{PORT}")
    assert reached(guest, "mozilla_t", (HOST, PORT)) == ["ok"]
    assert reached(guest, "named_t", (HOST, PORT)) == ["ok"]
    assert reached(guest, "irc_t", (HOST, PORT)) == ["ECONNREFUSED"]
    firewall.revoke("mozilla_t", f"{HOST}:{PORT}")
    assert reached(guest, "mozilla_t", (HOST, PORT)) == ["ECONNREFUSED"]
    assert reached(guest, "named_t", (HOST, PORT)) == ["ok"]


def test_a_prefix_for_one_and_a_host_within_it_for_another(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard("10.9.0.0/24")
    firewall.grant("mozilla_t", "10.9.0.0/24")
    firewall.grant("named_t", f"{HOST}:{PORT}")
    assert reached(guest, "mozilla_t", (HOST, PORT), (BESIDE, PORT)) == ["ok", "ok"]
    assert reached(guest, "named_t", (HOST, PORT), (BESIDE, PORT)) == ["ok", "ECONNREFUSED"]
    assert reached(guest, "named_t", (HOST, PORT + 1)) == ["ECONNREFUSED"]
    assert reached(guest, "irc_t", (HOST, PORT), (BESIDE, PORT)) == ["ECONNREFUSED"] * 2
    assert guest.probe.ping("mozilla_t", HOST).ok
    assert not guest.probe.ping("named_t", HOST, seconds=1).ok


def test_ranges_of_addresses_and_ports(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(f"10.9.0.4-10.9.0.5:{PORT}-{PORT + 1}/tcp")
    firewall.guard(f"[fd09::1-fd09::5]:{PORT}/udp")
    refused, ok = "ECONNREFUSED", "ok"
    places = [(HOST, PORT), (HOST, PORT + 1), (HOST, PORT + 2), (BESIDE, PORT)]
    assert reached(guest, "irc_t", *places) == [refused, refused, ok, ok]
    assert reached(guest, "irc_t", *places, kind="udp") == [ok] * 4
    six = [(HOST6, PORT), (HOST6, PORT + 1), ("fd09::6", PORT)]
    assert reached(guest, "irc_t", *six) == [ok] * 3
    assert reached(guest, "irc_t", *six, kind="udp") == [refused, ok, ok]


def test_any_address_of_both_families(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(f"any:{PORT}")
    firewall.grant("named_t", f"any:{PORT}/udp")
    for address in (HOST, HOST6):
        assert reached(guest, "named_t", (address, PORT)) == ["ECONNREFUSED"]
        assert reached(guest, "named_t", (address, PORT), kind="udp") == ["ok"]
        assert reached(guest, "irc_t", (address, PORT), kind="udp") == ["ECONNREFUSED"]
        assert reached(guest, "irc_t", (address, PORT + 1)) == ["ok"]


def test_an_ipv6_host_with_every_protocol_is_still_found_by_its_neighbours(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard(f"[{HOST6}]")
    firewall.grant("mozilla_t", f"[{HOST6}]")
    guest.run("ip -6 neigh flush all; nsenter --net=/run/netns/peer ip -6 neigh flush all")
    assert reached(guest, "mozilla_t", (HOST6, PORT)) == ["ok"]
    assert guest.probe.ping("mozilla_t", HOST6).ok
    assert reached(guest, "irc_t", (HOST6, PORT)) == ["ECONNREFUSED"]


def test_a_port_where_nobody_listens_answers_at_once(firewall: Firewall, guest: Guest) -> None:
    firewall.guard("10.9.0.0/24")
    firewall.grant("mozilla_t", "10.9.0.0/24")
    attempt = guest.probe.open("mozilla_t", (HOST, 9), seconds=20)
    assert attempt.outcome == "ECONNREFUSED"  # the peer's reset, let in
    # Inbound to a port of ours that is shut: our kernel's own reset must get out.
    firewall.guard("any:1-1000", inbound=True)
    assert guest.probe.open("", ("10.9.0.1", 9), netns="peer", seconds=20).outcome == "ECONNREFUSED"
    assert guest.probe.reach("", ("10.9.0.1", 9), kind="udp", netns="peer") == "ECONNREFUSED"


def kept(guest: Guest, domain: str, kind: str, address: str = HOST) -> ProbeSocket:
    socket = guest.probe.open(domain, (address, PORT), kind=kind).opened()
    assert socket.echo().ok
    return socket


@pytest.mark.parametrize("address", [HOST, HOST6])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_revoke_cuts_what_is_open_and_nothing_of_the_others(
    firewall: Firewall, guest: Guest, kind: str, address: str
) -> None:
    place = f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"
    firewall.guard(place)
    firewall.grant("mozilla_t", place)
    firewall.grant("named_t", place)
    cut, stays = kept(guest, "mozilla_t", kind, address), kept(guest, "named_t", kind, address)
    other = guest.probe.open("mozilla_t", (BESIDE, PORT), kind=kind).opened()
    firewall.revoke("mozilla_t", place)
    assert not cut.echo(seconds=1.5).ok
    assert stays.echo().ok
    assert other.echo().ok
    firewall.grant("mozilla_t", place)
    assert guest.probe.reach("mozilla_t", (address, PORT), kind=kind) == "ok"
    assert stays.echo().ok


def test_a_cut_connection_goes_on_when_it_is_granted_again(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard(f"{HOST}:{PORT}")
    firewall.grant("mozilla_t", f"{HOST}:{PORT}")
    socket = kept(guest, "mozilla_t", "tcp")
    firewall.revoke("mozilla_t", f"{HOST}:{PORT}")
    assert socket.send(b"held back").ok  # taken by the socket, held back by the kernel
    assert socket.receive(seconds=1).outcome == "TIMEOUT"
    firewall.grant("mozilla_t", f"{HOST}:{PORT}")
    assert socket.receive(seconds=20).data == b"held back"


def test_a_new_guard_cuts_connections_that_were_open_before_it(
    firewall: Firewall, guest: Guest
) -> None:
    sockets = [
        kept(guest, domain, kind) for domain in ("irc_t", "mozilla_t") for kind in ("tcp", "udp")
    ]
    firewall.grant("mozilla_t", f"{HOST}:{PORT}")
    firewall.guard(f"{HOST}:{PORT}")
    assert [socket.echo(seconds=1.5).ok for socket in sockets] == [False, False, True, True]


@pytest.mark.parametrize(("ours", "peer"), [("10.9.0.1", HOST), ("fd09::1", HOST6)])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_inbound_only_one_domain_may_be_reached_and_only_from_there(
    firewall: Firewall, guest: Guest, kind: str, ours: str, peer: str
) -> None:
    six = ":" in ours
    network = "[fd09::/64]" if six else "10.9.0.0/24"
    elsewhere = "fd09:1::1" if six else "10.9.1.1"
    firewall.guard("any:5432", inbound=True)
    firewall.grant("postgresql_t", f"{network}:5432", inbound=True)
    server = guest.probe.serve((ours, 5432), domain="postgresql_t", kind=kind)
    far = guest.probe.serve((elsewhere, 5432), domain="postgresql_t", kind=kind)
    try:
        assert guest.probe.reach("", (ours, 5432), kind=kind, netns="peer") == "ok"
        assert (
            guest.probe.reach("", (elsewhere, 5432), kind=kind, netns="peer2", seconds=1.5)
            == "TIMEOUT"
        )
    finally:
        server.close()
        far.close()
    other = guest.probe.serve((ours, 5432), domain="squid_t", kind=kind)
    beside = guest.probe.serve((ours, 5433), domain="squid_t", kind=kind)
    try:
        assert (
            guest.probe.reach("", (ours, 5432), kind=kind, netns="peer", seconds=1.5) == "TIMEOUT"
        )
        assert guest.probe.reach("", (ours, 5433), kind=kind, netns="peer") == "ok"
    finally:
        other.close()
        beside.close()
    # Going out to the same port elsewhere is another matter.
    assert guest.probe.open("irc_t", (peer, 5432), kind=kind).outcome in ("ok", "ECONNREFUSED")


def test_revoke_cuts_an_inbound_connection(firewall: Firewall, guest: Guest) -> None:
    firewall.guard("any:5432", inbound=True)
    firewall.grant("postgresql_t", "any:5432", inbound=True)
    server = guest.probe.serve(("10.9.0.1", 5432), domain="postgresql_t")
    client = guest.probe.open("", ("10.9.0.1", 5432), netns="peer").opened()
    assert client.echo().ok
    firewall.revoke("postgresql_t", "any:5432", inbound=True)
    assert not client.echo(seconds=1.5).ok
    server.close()


def test_a_closed_inbound_world_leaves_everything_outbound_alone(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard("any", inbound=True)
    for address in (HOST, HOST6):
        assert reached(guest, "irc_t", (address, PORT)) == ["ok"]
        assert reached(guest, "irc_t", (address, PORT), kind="udp") == ["ok"]
        assert guest.probe.ping("irc_t", address).ok


def test_a_closed_outbound_world_leaves_tcp_inbound_alone(firewall: Firewall, guest: Guest) -> None:
    server = guest.probe.serve(("10.9.0.1", 7777), domain="squid_t")
    firewall.guard("any")
    assert guest.probe.reach("", ("10.9.0.1", 7777), netns="peer") == "ok"
    assert reached(guest, "squid_t", (HOST, PORT)) == ["ECONNREFUSED"]
    server.close()


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_on_loopback_client_and_server_are_checked_each_for_itself(
    firewall: Firewall, guest: Guest, kind: str, loopback: str
) -> None:
    place = f"[{loopback}]:3128" if ":" in loopback else f"{loopback}:3128"
    server = guest.probe.serve((loopback, 3128), domain="squid_t", kind=kind)
    firewall.guard(place)
    firewall.grant("mozilla_t", place)
    # squid_t needs no grant to be reached: nothing is guarded inbound.
    assert guest.probe.reach("mozilla_t", (loopback, 3128), kind=kind) == "ok"
    assert guest.probe.reach("irc_t", (loopback, 3128), kind=kind) == "ECONNREFUSED"
    firewall.guard("any:3128", inbound=True)
    assert guest.probe.reach("mozilla_t", (loopback, 3128), kind=kind, seconds=1.5) == "TIMEOUT"
    firewall.grant("squid_t", "any:3128", inbound=True)
    assert guest.probe.reach("mozilla_t", (loopback, 3128), kind=kind) == "ok"
    server.close()
