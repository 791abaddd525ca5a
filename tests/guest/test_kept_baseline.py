"""Flows that keep their label where the baseline labels all: in the base chains themselves."""

from collections.abc import Iterator

import pytest

from .firewall import Firewall
from .hammer import passes_nothing_after_a_revoke
from .lab.guest import Guest
from .lab.probe import ProbeSocket
from .place import HOST, PLACE, PORT
from .test_kept import HOST6, PLACE6, goes_on, keeping, kept, led_to_place

OURS = "10.9.0.1"


@pytest.fixture(scope="module", autouse=True)
def labelled(firewall: Firewall) -> Iterator[None]:
    """Have the baseline on, and servers in `peer`."""
    for kind in ("tcp", "udp"):
        for address in (HOST, HOST6):
            firewall.guest.probe.serve((address, PORT), kind=kind, netns="peer")
    assert firewall.ctl("baseline", "on").rc == 0
    keeping(firewall.guest)
    for chain in ("output", "input"):
        listed = firewall.guest.run(f"nft list chain inet appfwd {chain}", check=True).out
        assert listed.count("meta secmark set ct secmark") == 2
    yield
    firewall.ctl("baseline", "off")


@pytest.mark.parametrize(("host", "kind"), [(HOST, "tcp"), (HOST, "udp"), (HOST6, "tcp")])
def test_a_revoke_holds_from_the_next_packet(
    firewall: Firewall, guest: Guest, host: str, kind: str
) -> None:
    place = PLACE if host == HOST else PLACE6
    firewall.guard(place)
    firewall.grant("mozilla_t", place)
    socket = guest.probe.open("mozilla_t", (host, PORT), kind=kind).opened()
    kept(guest, socket)
    _revoked(firewall, guest, socket, place)
    firewall.grant("mozilla_t", place)
    goes_on(socket)
    kept(guest, socket)
    socket.close()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_revoke_of_who_serves_holds_from_the_next_packet(
    firewall: Firewall, guest: Guest, kind: str
) -> None:
    place = f"{HOST}:5432"
    firewall.guard(place, inbound=True)
    firewall.grant("mozilla_t", place, inbound=True)
    server = guest.probe.serve((OURS, 5432), kind=kind, domain="mozilla_t")
    client = guest.probe.open("", server.address, kind=kind, netns="peer").opened()
    kept(guest, client)
    firewall.revoke("mozilla_t", place, inbound=True)
    for _ in range(2):
        assert not client.echo(seconds=1).ok
        keeping(guest)
    assert not client.echo(seconds=1).ok
    server.close()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_flow_that_nat_led_elsewhere_is_cut_at_the_next_packet(
    firewall: Firewall, guest: Guest, kind: str
) -> None:
    """Its SYN has not in its headers what it asked for: it is looked up as all else is."""
    with led_to_place(guest, kind) as address:
        firewall.guard(PLACE)
        assert guest.probe.reach("mozilla_t", address, kind=kind) == "ECONNREFUSED"
        firewall.grant("mozilla_t", PLACE)
        socket = guest.probe.open("mozilla_t", address, kind=kind).opened()
        kept(guest, socket)
        _revoked(firewall, guest, socket, PLACE)


def test_nothing_passes_after_a_revoke(firewall: Firewall, guest: Guest) -> None:
    firewall.guard(PLACE)
    passes_nothing_after_a_revoke(guest, (HOST, PORT), rounds=12)


def _revoked(firewall: Firewall, guest: Guest, socket: ProbeSocket, place: str) -> None:
    """Revoke, and hold that nothing passes, at once and once the refusal is kept."""
    firewall.revoke("mozilla_t", place)
    assert not socket.echo(seconds=1).ok
    keeping(guest)
    assert not socket.echo(seconds=1).ok
