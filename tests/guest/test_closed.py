"""Everything closed: the baseline on, the bridge closed strictly, and real services at work.

What the policy allows works, in the domain that it is allowed for; what it does not allow is
refused; and no loss of the table opens anything.
"""

from collections.abc import Iterator

import pytest

from .firewall import Firewall
from .intruders import REFUSED, WITHOUT_RIGHT, connect
from .lab.guest import Guest
from .lab.store import Snapshot, restore
from .services import KINDS, PEER, prepare, stub, web

#: Debian's policy lets systemd-resolved ask name servers, and not be one, which its stub is.
STUB_FOR = "127.0.0.0/8:53"


@pytest.fixture(scope="module")
def closed(installed: Snapshot) -> Iterator[Firewall]:
    """Yield the daemon of a guest in which services have run before all was closed."""
    with restore(installed) as guest:
        prepare(guest)
        firewall = Firewall(guest)
        firewall.ctl("baseline", "on")
        firewall.ctl("bridge", "close", "--strict", "--yes")
        yield firewall


def test_all_is_closed(closed: Firewall) -> None:
    status = closed.json("bridge")
    assert (status["bridge"], status["strict"]) == ("closed", True)
    assert closed.guest.run("getenforce", check=True).out == "Enforcing\n"
    capability = "/sys/fs/selinux/policy_capabilities/always_check_network"
    assert closed.guest.run(["cat", capability], check=True).out == "1"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "DNS by the stub"])
def test_each_service_works(closed: Firewall, kind: str) -> None:
    domain, attempt = KINDS[kind]
    outcome = attempt(closed.guest)
    assert outcome.worked, f"{outcome}\n{_denials(closed.guest)}"
    assert outcome.domain == domain


def test_the_stub_needs_a_grant_since_its_policy_lacks_the_right(closed: Firewall) -> None:
    assert not stub(closed.guest, "mozilla_t").worked
    closed.grant("systemd_resolved_t", STUB_FOR, inbound=True)
    outcome = stub(closed.guest, "mozilla_t")
    assert outcome.worked, f"{outcome}\n{_denials(closed.guest)}"
    assert web(closed.guest, "mozilla_t", "web.lab.test").worked


@pytest.mark.parametrize("kind", WITHOUT_RIGHT)
def test_a_domain_without_the_right_is_refused(closed: Firewall, kind: str) -> None:
    how, attempt = WITHOUT_RIGHT[kind]
    assert attempt(closed.guest) == how


def test_flushing_the_ruleset_changes_nothing_while_the_daemon_runs(closed: Firewall) -> None:
    before = closed.table()
    closed.guest.run("nft flush ruleset")
    assert closed.table() == before
    assert connect(closed.guest, "postgresql_t", (PEER, 80)) == REFUSED
    assert web(closed.guest, "mozilla_t").worked


def test_nothing_leaks_where_the_table_is_gone(closed: Firewall) -> None:
    guest = closed.guest
    guest.run("systemctl stop appfwd; nft flush ruleset", check=True, timeout=120)
    assert guest.run("nft list ruleset", check=True).out == ""
    outcomes = {kind: attempt(guest) for kind, (_, attempt) in WITHOUT_RIGHT.items()}
    assert {kind for kind, outcome in outcomes.items() if outcome == "ok"} == set()
    # Nor do those whose right is to labels that nobody gives now; the unconfined may do anything.
    assert connect(guest, "mozilla_t", (PEER, 80)) == REFUSED
    assert connect(guest, "unconfined_t", (PEER, 80)) == "ok"
    guest.run("systemctl start appfwd", check=True, timeout=120)
    assert web(guest, "mozilla_t").worked
    assert connect(guest, "postgresql_t", (PEER, 80)) == REFUSED


def _denials(guest: Guest) -> str:
    classes = {"packet", "peer", "netif", "node"}
    return "\n".join(str(avc) for avc in guest.avcs() if avc.tclass in classes)
