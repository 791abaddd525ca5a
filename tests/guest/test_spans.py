"""Rules that look a guarded network up for its own addresses alone, in the real kernel."""

from collections.abc import Sequence

import pytest

from .firewall import Firewall
from .lab.guest import Guest
from .place import HOST, PLACE, PORT, TRIED, holds, reaching

#: Ranges whose first or last address is the place's, down to the first and up to the last of all.
EDGES = (
    "10.9.0.5-10.9.0.9",
    "10.9.0.2-10.9.0.5",
    "10.9.0.4/31",
    "0.0.0.1-10.9.0.5",
    "10.9.0.5-255.255.255.255",
)
#: So many networks that the rule names them no more (appfwd.core.spans).
MANY = [f"10.{100 + n % 100}.{n // 100 * 2}.0/24" for n in range(0, 140, 2)]


@pytest.fixture(scope="module", autouse=True)
def server(firewall: Firewall) -> None:
    firewall.guest.probe.serve((HOST, PORT), kind="tcp", netns="peer")


def _named(guest: Guest) -> int:
    """Return how many rules name addresses of guarded networks."""
    listed = guest.run("nft list chain inet appfwd out_guards", check=True).out
    return listed.count("original ip daddr { ") + listed.count("original ip daddr 1")


def _handles(guest: Guest) -> list[str]:
    listed = guest.run("nft -a list chain inet appfwd out_guards", check=True).out
    return [line.rpartition("# handle ")[2] for line in listed.splitlines() if "# handle" in line]


@pytest.mark.parametrize("others", [(), ("172.16.0.0/12", "192.168.7.1-192.168.7.9")])
@pytest.mark.parametrize("edge", EDGES)
def test_a_guard_holds_up_to_its_edges(
    firewall: Firewall, guest: Guest, edge: str, others: Sequence[str]
) -> None:
    """Alone, where the rule has one range, and beside others, where it has a set."""
    for other in others:
        firewall.guard(other)
    assert reaching(guest) == TRIED
    firewall.guard(edge)
    holds(guest)
    firewall.grant("mozilla_t", PLACE)
    holds(guest, "mozilla_t")
    firewall.unguard(edge)
    assert reaching(guest) == TRIED


def test_a_flow_that_goes_on_is_cut_by_a_guard_whose_addresses_no_rule_had_named(
    firewall: Firewall, guest: Guest
) -> None:
    firewall.guard("172.16.0.0/12")
    flow = guest.probe.open("irc_t", (HOST, PORT)).opened()
    for _ in range(3):
        assert flow.echo().ok
        firewall.guard("10.9.0.0/24")
        assert not flow.echo(seconds=1).ok
        firewall.unguard("10.9.0.0/24")
        assert flow.echo(seconds=20).ok
        while flow.receive(seconds=0.5).ok:
            pass


def test_a_guard_holds_however_many_there_are(firewall: Firewall, guest: Guest) -> None:
    """As they come to be too many to name, and fewer again; and with the daemon started anew."""
    for count in (3, len(MANY), 3):
        networks = ", ".join(f'"{one}"' for one in [*MANY[:count], "10.9.0.0/24"])
        guest.write("/root/guards.toml", f"[[guard]]\ndestination = [{networks}]\n")
        firewall.ctl("apply", "--yes", "/root/guards.toml")
        holds(guest)
        assert bool(_named(guest)) is (count < len(MANY))
        if count < len(MANY):
            before = _handles(guest)
            firewall.restart()
            holds(guest)
            assert _handles(guest) == before  # it read its own rules, and made none anew
    firewall.unguard("10.9.0.0/24")
    assert reaching(guest) == TRIED
