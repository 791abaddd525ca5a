"""The services themselves, where no packet has a label: what test_closed.py takes for granted."""

from collections.abc import Iterator

import pytest

from .intruders import WITHOUT_RIGHT
from .lab.guest import Guest
from .lab.store import Snapshot, restore
from .services import KINDS, prepare


@pytest.fixture(scope="module")
def town(base: Snapshot) -> Iterator[Guest]:
    """Yield a guest with the services' other ends; nothing is labelled in it."""
    with restore(base) as guest:
        prepare(guest)
        yield guest


def test_none_of_them_runs_at_boot(base_guest: Guest) -> None:
    assert base_guest.run("ss -Hltun", check=True).out == ""
    units = ["ssh", "ssh.socket", "systemd-resolved", "chrony", "iperf3"]
    states = base_guest.run(["systemctl", "is-active", *units]).out.split()
    assert states == ["inactive"] * len(units)


@pytest.mark.parametrize("kind", KINDS)
def test_each_works_in_the_domain_of_its_policy(town: Guest, kind: str) -> None:
    domain, attempt = KINDS[kind]
    mark = town.mark()
    outcome = attempt(town)
    assert outcome.worked, outcome
    assert outcome.domain == domain
    assert town.run("getenforce", check=True).out == "Enforcing\n"
    assert [str(avc) for avc in town.avcs(mark) if avc.tclass in {"packet", "peer", "netif"}] == []


@pytest.mark.parametrize("kind", WITHOUT_RIGHT)
def test_domains_without_a_right_get_through_too(town: Guest, kind: str) -> None:
    """So that it is a label that stops them where all is closed."""
    assert WITHOUT_RIGHT[kind][1](town) == "ok"
