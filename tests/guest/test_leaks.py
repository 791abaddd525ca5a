"""Attacks on every refusal: lost conntrack entries, peers that speak first, thousands of tries."""

import pytest

from .firewall import Firewall
from .lab.guest import Guest
from .lab.probe import ProbeServer, ProbeSocket

HOST, OURS, PORT = "10.9.0.5", "10.9.0.1", 3128
FORGET = "conntrack -F 2>/dev/null"


@pytest.fixture
def udp_server(guest: Guest) -> ProbeServer:
    return guest.probe.serve((HOST, PORT), kind="udp", netns="peer", echo=False)


def revoked(firewall: Firewall, kind: str) -> ProbeSocket:
    """Return a socket of mozilla_t whose grant was taken away while it was in use."""
    firewall.guard(f"{HOST}:{PORT}")
    firewall.grant("mozilla_t", f"{HOST}:{PORT}")
    socket = firewall.guest.probe.open("mozilla_t", (HOST, PORT), kind=kind).opened()
    assert socket.send(b"while granted").ok
    firewall.revoke("mozilla_t", f"{HOST}:{PORT}")
    return socket


def test_udp_peer_speaks_first_after_the_entry_is_gone(
    firewall: Firewall, guest: Guest, udp_server: ProbeServer
) -> None:
    socket = revoked(firewall, "udp")
    before = udp_server.state().messages
    guest.run(FORGET)
    for _ in range(3):
        assert udp_server.send(b"push", socket.local).ok
        assert socket.receive(seconds=0.5).outcome == "TIMEOUT"
        assert socket.send(b"leak").outcome == "ECONNREFUSED"
    assert udp_server.state().messages == before
    socket.close()
    udp_server.close()


def test_tcp_peer_speaks_first_after_the_entry_is_gone(firewall: Firewall, guest: Guest) -> None:
    server = guest.probe.serve((HOST, PORT), netns="peer", echo=False)
    socket = revoked(firewall, "tcp")
    guest.run(FORGET)
    assert server.send(b"push").ok
    assert socket.receive(seconds=2).outcome == "TIMEOUT"
    octets = server.state().octets
    assert socket.send(b"leak").ok  # into the socket's buffer only
    guest.run(FORGET)
    assert server.send(b"push again").ok
    assert socket.receive(seconds=2).outcome == "TIMEOUT"
    assert server.state().octets == octets
    socket.close()
    server.close()


def test_inbound_tcp_server_speaks_first_after_the_entry_is_gone(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard("any:5432", inbound=True)
    firewall.grant("postgresql_t", "any:5432", inbound=True)
    server = guest.probe.serve((OURS, 5432), domain="postgresql_t", echo=False)
    client = guest.probe.open("", (OURS, 5432), netns="peer").opened()
    assert client.send(b"hello").ok
    firewall.revoke("postgresql_t", "any:5432", inbound=True)
    guest.run(FORGET)
    server.send(b"leak")
    assert client.receive(seconds=2).outcome == "TIMEOUT"
    client.close()
    server.close()


def test_inbound_udp_after_the_entry_is_gone_whoever_speaks_first(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard("any:5432", inbound=True)
    firewall.grant("postgresql_t", "any:5432", inbound=True)
    server = guest.probe.serve((OURS, 5432), domain="postgresql_t", kind="udp", echo=False)
    client = guest.probe.open("", (OURS, 5432), kind="udp", netns="peer").opened()
    assert client.send(b"hello").ok
    firewall.revoke("postgresql_t", "any:5432", inbound=True)
    guest.run(FORGET)
    assert server.send(b"leak", client.local).outcome == "ECONNREFUSED"
    assert client.receive(seconds=1).outcome == "TIMEOUT"
    guest.run(FORGET)
    seen = server.state().messages
    client.send(b"more")
    assert server.state().messages == seen
    client.close()
    server.close()


@pytest.mark.parametrize("fresh", [False, True])
def test_of_thousands_of_refused_datagrams_none_passes(
    firewall: Firewall, guest: Guest, udp_server: ProbeServer, *, fresh: bool
) -> None:
    socket = revoked(firewall, "udp")
    before = udp_server.state().messages
    kept = None if fresh else socket
    burst = guest.probe.burst(
        "mozilla_t", (HOST, PORT), 3000, fresh=fresh, on=kept, server=udp_server
    )
    assert burst.passed == 0
    assert burst.arrived == before - udp_server.state().messages == 0
    socket.close()
    udp_server.close()


def test_none_passes_while_conntrack_forgets_all_the_time(
    firewall: Firewall, guest: Guest, udp_server: ProbeServer
) -> None:
    revoked(firewall, "udp").close()
    before = udp_server.state().messages
    forgetting = guest.spawn(f"for i in $(seq 60); do {FORGET}; done")
    burst = guest.probe.burst("mozilla_t", (HOST, PORT), 3000, fresh=True)
    forgetting.wait(60)
    assert burst.passed == 0
    assert udp_server.state().messages == before
    udp_server.close()


def test_an_expired_entry_opens_nothing(
    firewall: Firewall, guest: Guest, udp_server: ProbeServer
) -> None:
    timeouts = "net.netfilter.nf_conntrack_udp_timeout"
    guest.run(f"sysctl -q {timeouts}=1 {timeouts}_stream=1", check=True)
    socket = revoked(firewall, "udp")
    guest.run(
        f"for i in $(seq 50); do conntrack -L -p udp --dport {PORT} 2>/dev/null | grep -q . "
        "|| exit 0; sleep 0.2; done; exit 1",
        check=True,
    )
    assert udp_server.send(b"push", socket.local).ok
    assert socket.receive(seconds=0.5).outcome == "TIMEOUT"
    assert socket.send(b"leak").outcome == "ECONNREFUSED"
    guest.run(f"sysctl -q {timeouts}=30 {timeouts}_stream=120", check=True)
    socket.close()
    udp_server.close()


def test_packets_without_an_entry_are_labelled_by_their_header(
    firewall: Firewall, guest: Guest, udp_server: ProbeServer
) -> None:
    guest.run(
        "nft 'table ip raw { chain o { type filter hook output priority raw; notrack; }; "
        "chain p { type filter hook prerouting priority raw; notrack; }; }'",
        check=True,
    )
    try:
        firewall.guard(f"{HOST}:{PORT}")
        firewall.grant("mozilla_t", f"{HOST}:{PORT}")
        allowed = guest.probe.open("mozilla_t", (HOST, PORT), kind="udp").opened()
        assert allowed.send(b"granted").ok
        assert guest.probe.burst("irc_t", (HOST, PORT), 50).passed == 0
        refused = guest.probe.open("irc_t", bind=(OURS, 0), kind="udp").opened()
        assert udp_server.send(b"push", refused.local).ok
        assert refused.receive(seconds=0.5).outcome == "TIMEOUT"
    finally:
        guest.run("nft delete table ip raw", check=True)
    udp_server.close()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_destination_nat_leads_around_no_guard(firewall: Firewall, guest: Guest, kind: str) -> None:
    server = guest.probe.serve((HOST, PORT), kind=kind, netns="peer")
    guest.run(
        "nft 'table ip tonat { chain o { type nat hook output priority dstnat; "
        f"ip daddr 192.0.2.1 {kind} dport 80 dnat to {HOST}:{PORT}; }}; }}' && "
        "ip route replace 192.0.2.1 dev to-peer",
        check=True,
    )
    try:
        assert guest.probe.reach("irc_t", ("192.0.2.1", 80), kind=kind) == "ok"
        firewall.guard(f"{HOST}:{PORT}")
        assert guest.probe.reach("irc_t", ("192.0.2.1", 80), kind=kind) == "ECONNREFUSED"
        firewall.grant("mozilla_t", f"{HOST}:{PORT}")
        assert guest.probe.reach("mozilla_t", ("192.0.2.1", 80), kind=kind) == "ok"
        firewall.clear()
        firewall.guard("192.0.2.1:80")
        assert guest.probe.reach("irc_t", ("192.0.2.1", 80), kind=kind) == "ECONNREFUSED"
    finally:
        guest.run("nft delete table ip tonat; ip route del 192.0.2.1", check=True)
    server.close()


def test_a_redirected_inbound_port_escapes_neither_guard(firewall: Firewall, guest: Guest) -> None:
    server = guest.probe.serve((OURS, 8080), domain="squid_t")
    guest.run(
        "nft 'table ip innat { chain p { type nat hook prerouting priority dstnat; "
        "tcp dport 80 redirect to :8080; }; }'",
        check=True,
    )
    try:
        assert guest.probe.reach("", (OURS, 80), netns="peer") == "ok"
        for port in ("80", "8080"):
            firewall.guard(f"any:{port}", inbound=True)
            assert guest.probe.reach("", (OURS, 80), netns="peer", seconds=1) == "TIMEOUT"
            firewall.unguard(f"any:{port}", inbound=True)
    finally:
        guest.run("nft delete table ip innat", check=True)
    server.close()


def test_the_label_does_not_follow_a_packet_into_another_namespace(
    firewall: Firewall, guest: Guest
) -> None:
    """A server in a container on this machine needs no right on its clients' labels."""
    server = guest.probe.serve((HOST, PORT), domain="squid_t", netns="peer")
    firewall.guard(f"{HOST}:{PORT}")
    firewall.grant("mozilla_t", f"{HOST}:{PORT}")
    mark = guest.mark()
    assert guest.probe.reach("mozilla_t", (HOST, PORT)) == "ok"
    assert [avc for avc in guest.avcs(mark) if avc.tclass == "packet"] == []
    server.close()


def test_icmp_errors_of_a_granted_flow_come_in_and_of_a_revoked_one_do_not_matter(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard(f"{HOST}:9")
    firewall.grant("mozilla_t", f"{HOST}:9")
    socket = guest.probe.open("mozilla_t", (HOST, 9), kind="udp").opened()
    socket.send(b"nobody listens")
    assert socket.receive(seconds=5).outcome == "ECONNREFUSED"  # port unreachable, let in
    socket.close()
