"""Long lists come in pages; filters choose."""

from __future__ import annotations

from typing import Any

import pytest

from appfwd.model.options import PAGE_AT_MOST
from tests.bus.peer import Peer
from tests.bus.running import Daemon
from tests.bus.samples import uid_for

GRANTS = PAGE_AT_MOST + 100
#: Each without a protocol is five elements, one for each protocol with ports.
GUARDS = PAGE_AT_MOST // 5 + 10


def _hosts(count: int) -> list[str]:
    return [f"10.{number >> 8}.{number & 255}.1:443" for number in range(count)]


def test_list_comes_in_pages_without_gap_or_repetition(daemon: Daemon, root: Peer) -> None:
    daemon.tell("fill", guards=[], grants=[("squid_t", place) for place in _hosts(GRANTS)])
    first = root.call("List", {})
    second = root.call("List", {"offset": PAGE_AT_MOST})
    assert (len(first), len(second)) == (PAGE_AT_MOST, GRANTS - PAGE_AT_MOST)
    rows = first + second
    assert [int(row["id"]) for row in rows] == sorted({int(row["id"]) for row in rows})
    assert {row["destination"] for row in rows} == set(_hosts(GRANTS))
    assert root.call("List", {"offset": 7, "limit": 3}) == rows[7:10]
    assert root.call("List", {"offset": GRANTS}) == []
    assert root.call("List", {"offset": GRANTS - 1}) == rows[-1:]


def test_get_rules_comes_in_pages_and_tells_the_total(daemon: Daemon, root: Peer) -> None:
    daemon.tell("fill", guards=_hosts(GUARDS), grants=[])
    first = root.call("GetRules", {})
    total = first["total"]
    assert total == GUARDS * 5
    assert len(first["elements"]) == PAGE_AT_MOST
    second = root.call("GetRules", {"offset": PAGE_AT_MOST})
    rows = first["elements"] + second["elements"]
    assert len({_key(row) for row in rows}) == len(rows) == second["total"] == total
    assert {f"{row['peer']}:{row['ports']}" for row in rows} == set(_hosts(GUARDS))
    some = root.call("GetRules", {"offset": 7, "limit": 3})
    assert some["elements"] == rows[7:10]
    assert some["labels"] == first["labels"]


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("map", "peer", "protocols", "ports"))


ALL = {"mozilla out", "squid in", "guard out", "guard in"}
FILTERS = {
    "nothing": ({}, ALL),
    "kind grant": ({"kind": "grant"}, {"mozilla out", "squid in"}),
    "kind guard": ({"kind": "guard"}, {"guard out", "guard in"}),
    "domain": ({"domain": "squid_t"}, {"squid in"}),
    "direction": ({"direction": "in"}, {"squid in", "guard in"}),
    "two at once": ({"kind": "guard", "direction": "out"}, {"guard out"}),
    "what does not go together": ({"kind": "guard", "domain": "squid_t"}, set()),
}


@pytest.mark.parametrize(("chosen", "expected"), FILTERS.values(), ids=FILTERS)
def test_filters_choose_rows_that_fit_all_of_them(
    root: Peer, chosen: dict[str, Any], expected: set[str]
) -> None:
    inbound = {"direction": "in"}
    ids = {
        root.call("Grant", "mozilla_t", "10.0.0.1:80", {}): "mozilla out",
        root.call("Grant", "squid_t", "any:3128", inbound): "squid in",
        root.call("Guard", "10.0.0.1:80", {}): "guard out",
        root.call("Guard", "any:3128", inbound): "guard in",
    }
    assert {ids[row["id"]] for row in root.call("List", chosen)} == expected
    assert len(root.call("List", {**chosen, "limit": 1})) == min(1, len(expected))


def test_a_grant_whose_domain_left_the_policy_is_listed_as_dormant(
    daemon: Daemon, root: Peer
) -> None:
    root.call("Grant", "squid_t", "10.0.0.1:80", {})
    root.call("Grant", "mozilla_t", "10.0.0.1:80", {})
    daemon.tell("domains", names=["mozilla_t"])
    dormant = {row["domain"]: row["dormant"] for row in root.call("List", {})}
    assert dormant == {"squid_t": True, "mozilla_t": False}
    root.call("Revoke", "squid_t", "10.0.0.1:80", {})
    assert len(root.call("List", {})) == 1


def test_rows_name_who_made_them(daemon: Daemon, root: Peer) -> None:
    uid = uid_for("org.appfwd1.grant")
    with daemon.peer(uid) as peer:
        peer.call("Grant", "squid_t", "10.0.0.1:80", {})
    (row,) = root.call("List", {})
    assert row["uid"] == uid
