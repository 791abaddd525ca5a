"""Which domains run, with what they are granted and where they are connected."""

from __future__ import annotations

from typing import Any

import pytest

from appfwd.manager.domains import CONNECTIONS_OF_EACH, CONNECTIONS_OF_ONE
from appfwd.manager.rows import PROGRAMS_AT_MOST
from appfwd.model.options import PAGE_AT_MOST
from tests.bus.peer import Peer, Refused, manager_call
from tests.bus.running import Daemon
from tests.bus.wire import Variant


def _rows(root: Peer, **filters: Any) -> dict[str, dict[str, Any]]:
    rows = root.call("ListDomains", filters)
    assert [row["domain"] for row in rows] == sorted(row["domain"] for row in rows)
    return {row["domain"]: row for row in rows}


def test_each_domain_that_runs_has_a_row(root: Peer) -> None:
    rows = _rows(root)
    assert set(rows) == {"mozilla_t", "squid_t", "sshd_t", "unconfined_t"}
    mozilla = rows["mozilla_t"]
    assert mozilla["programs"] == ["/usr/bin/curl", "/usr/lib/firefox/firefox"]
    assert (mozilla["processes"], mozilla["grants"], mozilla["complete"]) == (3, 0, True)
    assert mozilla["connections"][0] == {
        "direction": "out",
        "destination": "10.0.0.5:3128/tcp",
        "protocol": "tcp",
        "local": "10.0.0.1",
        "local_port": 40_000,
        "peer": "10.0.0.5",
        "peer_port": 3128,
        "namespace": 0,
    }
    assert mozilla["connections"][1]["destination"] == "[2001:db8::5]:443/udp"
    (inbound,) = rows["squid_t"]["connections"]
    assert (inbound["direction"], inbound["destination"]) == ("in", "10.0.0.7:3128/tcp")
    assert (inbound["local_port"], inbound["peer_port"]) == (3128, 40_002)
    (other,) = rows["unconfined_t"]["connections"]
    assert (other["protocol"], other["destination"]) == ("89", "10.0.0.9")
    assert (other["namespace"], rows["unconfined_t"]["complete"]) == (4_026_532_281, False)


def test_a_fence_is_told_with_its_domain(root: Peer) -> None:
    root.call("Fence", "mozilla_t", {})
    assert [name for name, row in _rows(root).items() if row["fenced"]] == ["mozilla_t"]


def test_what_a_domain_could_be_granted_is_what_grant_takes(root: Peer) -> None:
    for row in root.call("ListDomains", {}):
        for one in row["connections"]:
            place = (one["destination"], {"direction": one["direction"]})
            root.call("Grant", row["domain"], *place)
    grants = {row["domain"]: row["grants"] for row in root.call("ListDomains", {})}
    assert grants == {"mozilla_t": 2, "squid_t": 1, "sshd_t": 0, "unconfined_t": 1}


def test_grants_are_counted_for_their_own_domain_and_guards_are_not(
    daemon: Daemon, root: Peer
) -> None:
    places = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    grants = [("mozilla_t", places[0]), ("mozilla_t", places[1]), ("postgresql_t", places[0])]
    daemon.tell("fill", guards=places, grants=grants)
    rows = _rows(root)
    assert {name: row["grants"] for name, row in rows.items() if row["grants"]} == {"mozilla_t": 2}
    root.call("Revoke", "mozilla_t", places[0], {})
    assert _rows(root)["mozilla_t"]["grants"] == 1


def test_one_domain_is_shown_alone_and_none_where_it_does_not_run(root: Peer) -> None:
    assert set(_rows(root, domain="sshd_t")) == {"sshd_t"}
    for other in ("postgresql_t", "", "no such\n", "x" * 100_000):
        assert _rows(root, domain=other) == {}


def test_long_rows_are_cut_and_tell_by_how_much(daemon: Daemon, root: Peer) -> None:
    daemon.tell("crowd", domains=3, connections=CONNECTIONS_OF_ONE + 5, programs=PROGRAMS_AT_MOST)
    for row in _rows(root).values():
        assert len(row["connections"]) == CONNECTIONS_OF_EACH
        assert row["more_connections"] == CONNECTIONS_OF_ONE + 5 - CONNECTIONS_OF_EACH
        assert (len(row["programs"]), row["more_programs"]) == (PROGRAMS_AT_MOST, 0)
    (alone,) = _rows(root, domain="d00001_t").values()
    assert (len(alone["connections"]), alone["more_connections"]) == (CONNECTIONS_OF_ONE, 5)
    daemon.tell("crowd", domains=1, connections=0, programs=PROGRAMS_AT_MOST + 7)
    (row,) = _rows(root).values()
    assert (len(row["programs"]), row["more_programs"]) == (PROGRAMS_AT_MOST, 7)
    assert (row["connections"], row["more_connections"]) == ([], 0)


def test_domains_come_in_pages(daemon: Daemon, root: Peer) -> None:
    daemon.tell("crowd", domains=PAGE_AT_MOST + 2, connections=0, programs=0)
    first, second = root.call("ListDomains", {}), root.call("ListDomains", {"offset": PAGE_AT_MOST})
    names = [row["domain"] for row in first + second]
    assert (len(first), len(second)) == (PAGE_AT_MOST, 2)
    assert names == [f"d{n:05}_t" for n in range(PAGE_AT_MOST + 2)]
    some = root.call("ListDomains", {"offset": 7, "limit": 3})
    assert [row["domain"] for row in some] == names[7:10]


@pytest.mark.parametrize(
    "options",
    [
        {"colour": Variant("s", "x")},
        {"direction": Variant("s", "in")},
        {"domain": Variant("i", 1)},
        {"domain": Variant("as", ["mozilla_t"])},
        {"offset": Variant("i", -1)},
        {"limit": Variant("i", PAGE_AT_MOST + 1)},
        {"limit": Variant("s", "1")},
    ],
    ids=str,
)
def test_another_option_is_refused(root: Peer, options: dict[str, Any]) -> None:
    message = manager_call("ListDomains", {})
    message.body = [options]
    with pytest.raises(Refused) as caught:
        root.ask(message)
    assert caught.value.name == "org.appfwd1.Error.InvalidOption"
