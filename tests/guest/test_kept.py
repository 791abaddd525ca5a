"""Flows that keep their label, in the real kernel: fewer lookups, revokes at the next packet."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from .firewall import SECONDS, Firewall
from .hammer import passes_nothing_after_a_revoke
from .lab.guest import Guest
from .lab.probe import Address, ProbeSocket
from .place import HOST, PLACE, PORT, holds, only_mozilla

HOST6, OURS = "fd09::5", "10.9.0.1"
PLACE6 = f"[{HOST6}]:{PORT}"
LIST = "nft -n list chain inet appfwd output_kept"


@pytest.fixture(scope="module", autouse=True)
def servers(firewall: Firewall) -> None:
    for kind in ("tcp", "udp"):
        for address in (HOST, HOST6):
            firewall.guest.probe.serve((address, PORT), kind=kind, netns="peer")


def keeping(guest: Guest) -> None:
    """Wait until flows keep their labels."""
    until(lambda: "ct secmark set" in guest.run(LIST).out)


def until(holds_now: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not holds_now():
        assert time.monotonic() < end
        time.sleep(0.2)


def lookups(guest: Guest) -> int:
    """Return how many packets found something in a map."""
    listed = guest.run("nft -t list table inet appfwd", check=True).out
    return sum(map(int, re.findall(r"counter packets (\d+)", listed)))


def kept(guest: Guest, socket: ProbeSocket) -> None:
    """Have a flow keep its label, and hold that it does: its packets need no lookup.

    A flow of before that says again what was refused costs a few in between: then once more.
    """
    keeping(guest)
    assert socket.echo().ok
    assert socket.echo().ok
    tries = 0
    while (found := lookups_of(guest, socket, times=20)) != 0:
        tries += 1
        assert found < 20
        assert tries < 3


def lookups_of(guest: Guest, socket: ProbeSocket, *, times: int) -> int:
    before = lookups(guest)
    for _ in range(times):
        assert socket.echo().ok
    return lookups(guest) - before


def goes_on(socket: ProbeSocket) -> None:
    """Hold that a flow goes on that had been cut, and take what comes of the time before."""
    assert socket.echo(seconds=90).ok
    while socket.receive(seconds=0.5).ok:
        pass


@contextmanager
def led_to_place(guest: Guest, kind: str) -> Iterator[Address]:
    """Have destination NAT lead what is sent to an address to the place."""
    guest.run(
        "nft 'table ip tonat { chain o { type nat hook output priority dstnat; "
        f"ip daddr 192.0.2.1 {kind} dport 80 dnat to {PLACE}; }}; }}' && "
        "ip route replace 192.0.2.1 dev to-peer",
        check=True,
    )
    yield ("192.0.2.1", 80)
    guest.run("nft delete table ip tonat; ip route del 192.0.2.1", check=True)


def granted(firewall: Firewall, kind: str = "tcp", host: str = HOST) -> ProbeSocket:
    """Return a socket of mozilla_t whose flow to the guarded place keeps its label."""
    place = PLACE if host == HOST else PLACE6
    firewall.guard(place)
    firewall.grant("mozilla_t", place)
    socket = firewall.guest.probe.open("mozilla_t", (host, PORT), kind=kind).opened()
    kept(firewall.guest, socket)
    return socket


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("host", [HOST, HOST6])
def test_a_revoke_holds_from_the_next_packet_and_a_grant_too(
    firewall: Firewall, host: str, kind: str
) -> None:
    socket, place = granted(firewall, kind, host), PLACE if host == HOST else PLACE6
    for _ in range(3):
        firewall.revoke("mozilla_t", place)
        assert not socket.echo(seconds=1).ok
        keeping(firewall.guest)  # what is refused is kept as well
        assert not socket.echo(seconds=1).ok
        firewall.grant("mozilla_t", place)
        goes_on(socket)
        kept(firewall.guest, socket)
    socket.close()


@pytest.mark.parametrize(
    "narrowing", ["guard host", "revoke network", "another domain", "table gone and daemon dead"]
)
def test_whatever_narrows_holds_from_the_next_packet(
    firewall: Firewall, guest: Guest, narrowing: str
) -> None:
    network = "10.9.0.0/24"
    firewall.guard(network)
    firewall.grant("mozilla_t", network)
    firewall.grant("named_t", network)
    socket = guest.probe.open("mozilla_t", (HOST, PORT)).opened()
    kept(guest, socket)
    if narrowing == "guard host":
        firewall.guard("10.9.0.0/25")
        assert socket.echo().ok  # the grant of the network still holds
        firewall.revoke("mozilla_t", network)
    elif narrowing == "another domain":
        firewall.grant("irc_t", network)
        firewall.revoke("mozilla_t", network)
    elif narrowing == "revoke network":
        firewall.revoke("mozilla_t", network)
    else:
        guest.run("systemctl kill -s KILL appfwd", check=True)
        guest.run("nft delete table inet appfwd; systemctl reset-failed appfwd")
        guest.run("systemctl restart appfwd", check=True, timeout=SECONDS)
        firewall.revoke("mozilla_t", network)
    assert not socket.echo(seconds=1).ok
    keeping(guest)
    assert not socket.echo(seconds=1).ok


def test_thousands_of_datagrams_of_a_revoked_domain_pass_none(
    firewall: Firewall, guest: Guest
) -> None:
    server = guest.probe.serve((HOST, PORT + 1), kind="udp", netns="peer")
    place = f"{HOST}:{PORT + 1}"
    firewall.guard(place)
    firewall.grant("mozilla_t", place)
    socket = guest.probe.open("mozilla_t", (HOST, PORT + 1), kind="udp").opened()
    kept(guest, socket)
    firewall.revoke("mozilla_t", place)
    keeping(guest)
    before = server.state().messages
    for fresh, on in ((False, socket), (False, None), (True, None)):
        burst = guest.probe.burst(
            "mozilla_t", (HOST, PORT + 1), 3000, fresh=fresh, on=on, server=server
        )
        assert (burst.passed, burst.arrived) == (0, 0)
    assert server.state().messages == before
    server.close()


def test_an_entry_that_takes_anothers_place_has_nothing_kept(
    firewall: Firewall, guest: Guest
) -> None:
    """The peer speaks first on the same addresses, again and again, after the entry is gone."""
    server = guest.probe.serve((HOST, PORT + 2), kind="udp", netns="peer", echo=False)
    place = f"{HOST}:{PORT + 2}"
    firewall.guard(place)
    firewall.grant("mozilla_t", place)
    socket = guest.probe.open("mozilla_t", (HOST, PORT + 2), kind="udp").opened()
    assert socket.send(b"hello").ok
    assert server.send(b"hello", socket.local).ok
    keeping(guest)
    firewall.revoke("mozilla_t", place)
    keeping(guest)
    for _ in range(30):
        guest.run("conntrack -F 2>/dev/null")
        assert server.send(b"push", socket.local).ok
        assert socket.send(b"leak").outcome == "ECONNREFUSED"
    server.close()


HELPER = """
table ip helped {
    ct helper ftp { type "ftp" protocol tcp; }
    chain output {
        type filter hook output priority 0;
        tcp dport %d ct helper set "ftp"
        ct status expected counter
    }
}
"""


def test_a_flow_that_a_helper_foresaw_has_its_own_label(firewall: Firewall, guest: Guest) -> None:
    """It begins with what its parent keeps, goes the same way, and is another domain's."""
    port = PORT + 6
    place, (high, low) = f"{HOST}:{port}", divmod(port, 256)
    guest.probe.serve((HOST, port), netns="peer")
    guest.run("modprobe nf_conntrack_ftp", check=True)
    guest.write("/root/helper.nft", (HELPER % PORT).encode())
    guest.run("nft -f /root/helper.nft", check=True)
    firewall.guard(place)
    firewall.grant("named_t", place)
    parent = granted(firewall)
    assert parent.echo(b"hello\r\n").ok  # the helper reads whole lines only
    told = f"227 Entering Passive Mode ({HOST.replace('.', ',')},{high},{low})\r\n"
    assert parent.echo(told.encode()).ok
    assert f"dport={port} " in guest.run("cat /proc/net/nf_conntrack_expect", check=True).out
    child = guest.probe.open("named_t", (HOST, port)).opened()
    for _ in range(5):
        assert child.echo().ok
    counted = guest.run("nft list chain ip helped output", check=True).out
    assert "expected counter packets 0" not in counted
    before = lookups(guest)
    assert child.echo().ok
    assert lookups(guest) > before
    assert guest.probe.reach("mozilla_t", (HOST, port)) == "ECONNREFUSED"
    kept(guest, parent)
    firewall.revoke("named_t", place)
    assert not child.echo(seconds=1).ok
    guest.run("nft delete table ip helped", check=True)


def test_loopback_is_labelled_at_both_ends_and_not_kept(firewall: Firewall, guest: Guest) -> None:
    """The client is checked for the label outbound, the server for the one inbound."""
    port = PORT + 3
    guest.probe.serve(("127.0.0.1", port), domain="named_t")
    for inbound, domain in ((False, "mozilla_t"), (True, "named_t")):
        firewall.guard(f"127.0.0.1:{port}", inbound=inbound)
        firewall.grant(domain, f"127.0.0.1:{port}", inbound=inbound)
    keeping(guest)
    socket = guest.probe.open("mozilla_t", ("127.0.0.1", port)).opened()
    for _ in range(5):
        assert socket.echo().ok
    before = lookups(guest)
    assert socket.echo().ok
    assert lookups(guest) > before
    firewall.revoke("named_t", f"127.0.0.1:{port}", inbound=True)
    assert not socket.echo(seconds=1).ok
    firewall.grant("named_t", f"127.0.0.1:{port}", inbound=True)
    goes_on(socket)
    firewall.revoke("mozilla_t", f"127.0.0.1:{port}")
    assert not socket.echo(seconds=1).ok


def test_an_inbound_flow_keeps_its_label_and_loses_it(firewall: Firewall, guest: Guest) -> None:
    port = PORT + 4
    place = f"{HOST}:{port}"
    guest.probe.serve((OURS, port), domain="named_t")
    firewall.guard(place, inbound=True)
    firewall.grant("named_t", place, inbound=True)
    socket = guest.probe.open("", (OURS, port), netns="peer", bind=(HOST, 0)).opened()
    kept(guest, socket)
    firewall.revoke("named_t", place, inbound=True)
    assert not socket.echo(seconds=1).ok
    keeping(guest)
    assert not socket.echo(seconds=1).ok
    firewall.grant("named_t", place, inbound=True)
    goes_on(socket)


def test_nothing_passes_after_the_reply_of_a_revoke_while_a_flow_hammers(
    firewall: Firewall, guest: Guest
) -> None:
    """One processor takes turns; test_two_processors.py has two."""
    server = guest.probe.serve((HOST, PORT + 5), kind="udp", netns="peer", echo=True)
    firewall.guard(f"{HOST}:{PORT + 5}")
    passes_nothing_after_a_revoke(guest, (HOST, PORT + 5), rounds=12)
    server.close()


def test_a_fence_cuts_a_kept_flow_without_a_label(firewall: Firewall, guest: Guest) -> None:
    """Policy alone changes then: the table has the flow unlabelled as before."""
    guest.probe.serve((HOST, PORT + 7), netns="peer")
    firewall.guard("10.9.0.77")  # so that there is something to look up
    socket = guest.probe.open("irc_t", (HOST, PORT + 7)).opened()
    kept(guest, socket)
    firewall.ctl("fence", "irc_t")
    assert not socket.echo(seconds=1).ok
    keeping(guest)
    assert not socket.echo(seconds=1).ok
    firewall.ctl("unfence", "irc_t")
    goes_on(socket)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_kept_flow_that_nat_led_elsewhere_is_cut_at_the_next_packet(
    firewall: Firewall, guest: Guest, kind: str
) -> None:
    with led_to_place(guest, kind) as address:
        firewall.guard(PLACE)
        assert guest.probe.reach("mozilla_t", address, kind=kind) == "ECONNREFUSED"
        firewall.grant("mozilla_t", PLACE)
        socket = guest.probe.open("mozilla_t", address, kind=kind).opened()
        kept(guest, socket)
        firewall.revoke("mozilla_t", PLACE)
        assert not socket.echo(seconds=1).ok
        keeping(guest)
        assert not socket.echo(seconds=1).ok
        firewall.grant("mozilla_t", PLACE)
        goes_on(socket)


def test_a_daemon_killed_at_any_time_leaves_nothing_open(firewall: Firewall, guest: Guest) -> None:
    only_mozilla(firewall)
    socket = guest.probe.open("mozilla_t", (HOST, PORT)).opened()
    for wait in (0.0, 0.9, 1.1, 1.5):
        kept(guest, socket)
        firewall.revoke("mozilla_t", PLACE)
        time.sleep(wait)
        guest.run("systemctl kill -s KILL appfwd", check=True)
        assert not socket.echo(seconds=1).ok
        guest.run("systemctl reset-failed appfwd; systemctl restart appfwd", timeout=SECONDS)
        assert not socket.echo(seconds=1).ok
        holds(guest)
        firewall.grant("mozilla_t", PLACE)
        goes_on(socket)
    # A start with nothing to do leaves flows what they kept.
    kept(guest, socket)
    firewall.restart()
    assert socket.echo().ok
