"""From an open bridge to a closed one: labels for every port, what was observed, what is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bus.fakes import LABELS
from tests.bus.fixtures import OURS
from tests.bus.peer import Peer, Refused, bare
from tests.bus.records import SEEN, observe, record
from tests.bus.running import Daemon
from tests.bus.samples import PLACE, prepare

WEB, ODD, LOGIN = "10.0.0.80:443/tcp", "10.0.0.81:8443/tcp", "10.0.0.9:22/tcp"


def _baseline(root: Peer, *, on: bool) -> None:
    root.call("SetBaseline", on, {})


# The bridge


def test_an_observed_bridge_marks_first_packets_and_listens(daemon: Daemon, root: Peer) -> None:
    assert not daemon.tell("record", texts=list(SEEN)), "an open bridge is not listened to"
    root.call("SetBridge", "observed", {})
    assert root.get("Bridge") == "observed"
    assert daemon.tell("record", texts=list(SEEN))
    assert "auditallow appfwd_observed appfwd_seen_tcp_t" in daemon.state()["module"]
    assert any("set" in row for row in daemon.state()["table"])
    for mode in ("closed", "open"):
        root.call("SetBridge", mode, {})
        assert "seen" not in str(daemon.state()["table"])
        # What is refused is heard of.
        assert daemon.tell("record", texts=list(SEEN)) == (mode == "closed")
        root.call("SetBridge", "observed", {})
    root.call("Down", {})
    assert not daemon.tell("record", texts=list(SEEN))


def test_strict_is_a_part_of_a_closed_bridge(daemon: Daemon, root: Peer) -> None:
    root.call("SetBridge", "closed", {"strict": True})
    assert (root.get("Bridge"), root.get("Strict")) == ("closed", True)
    assert "(policycap always_check_network)" in daemon.state()["module"]
    root.call("SetBridge", "closed", {})
    assert (root.get("Bridge"), root.get("Strict")) == ("closed", False)
    assert "policycap" not in daemon.state()["module"]
    root.call("SetBridge", "closed", {"strict": True})
    root.call("SetBridge", "open", {})
    assert (root.get("Bridge"), root.get("Strict")) == ("open", False)
    assert "policycap" not in daemon.state()["module"]


def test_changes_of_all_settings_are_signalled(watcher: Peer) -> None:
    expected: list[Any] = []
    for call, changed in (
        (("SetBridge", "closed", {"strict": True}), {"Bridge": "closed", "Strict": True}),
        (("SetBaseline", True, {}), {"Baseline": True}),
        (("SetBridge", "observed", {}), {"Bridge": "observed", "Strict": False}),
        (("SetBaseline", False, {}), {"Baseline": False}),
    ):
        watcher.call(*call)
        expected.append(["org.appfwd1.Manager", changed, []])
    watcher.alive()
    assert [bare(m.body) for m in watcher.signals("PropertiesChanged")] == expected


# The baseline


def test_the_baseline_labels_every_port_and_no_longer(daemon: Daemon, root: Peer) -> None:
    _baseline(root, on=True)
    assert root.get("Baseline") is True
    rows = {(r["map"], r["protocols"], r["ports"]): r["label"] for r in _elements(root)}
    assert "http_client_packet_t" in {rows[key] for key in rows if key[1:] == ("tcp", "443")}
    assert "ssh_server_packet_t" in {rows[key] for key in rows if key[1:] == ("tcp", "22")}
    assert set(rows.values()) >= {"client_packet_t", "server_packet_t", "icmp_packet_t"}
    _baseline(root, on=False)
    assert root.get("Baseline") is False
    assert _elements(root) == []
    assert [kind for row in daemon.state()["table"] for kind in row] == ["table"]


def _elements(root: Peer) -> list[dict[str, Any]]:
    rules = root.call("GetRules", {})
    rows: list[dict[str, Any]] = rules["elements"]
    assert rules["total"] == len(rows)
    return rows


def test_get_baseline_tells_each_port_on_or_off(root: Peer) -> None:
    off = root.call("GetBaseline", {})
    _baseline(root, on=True)
    on = root.call("GetBaseline", {})
    assert (off.pop("enabled"), on.pop("enabled")) == (False, True)
    assert on == off
    assert on["total"] == len(on["rows"])
    assert {row["packet_type"] for row in on["rows"]} <= set(LABELS)
    (web,) = (r for r in on["rows"] if (r["ports"], r["direction"]) == ("443", "out"))
    assert web == {
        "direction": "out",
        "protocol": "tcp",
        "ports": "443",
        "port_type": "http_port_t",
        "packet_type": "http_client_packet_t",
        "default": False,
    }
    (icmp,) = (r for r in on["rows"] if (r["protocol"], r["direction"]) == ("icmp", "out"))
    assert (icmp["packet_type"], icmp["ports"], icmp["default"]) == (
        "icmp_packet_t",
        "0-65535",
        True,
    )
    (report,) = on["report"]
    assert "reserved_port_t" in report


def test_get_baseline_comes_in_pages_and_by_direction(root: Peer) -> None:
    whole = root.call("GetBaseline", {})["rows"]
    page = root.call("GetBaseline", {"offset": 2, "limit": 3})
    assert (page["rows"], page["total"]) == (whole[2:5], len(whole))
    for direction in ("in", "out"):
        rows = root.call("GetBaseline", {"direction": direction})["rows"]
        assert rows == [row for row in whole if row["direction"] == direction] != []


def test_a_policy_without_packet_types_has_no_baseline(daemon: Daemon, root: Peer) -> None:
    daemon.tell("repolicy", domains=["mozilla_t"], baseline=False)
    answer = root.call("GetBaseline", {})
    assert (answer["rows"], answer["total"]) == ([], 0)
    assert answer["report"]
    with daemon.unchanged(), pytest.raises(Refused) as caught:
        _baseline(root, on=True)
    assert caught.value.name == "org.appfwd1.Error.PolicyUnsupported"
    assert answer["report"][0] in caught.value.text
    _baseline(root, on=False)


def test_after_a_change_of_policy_by_others_what_follows_is_told(
    daemon: Daemon, root: Peer, watcher: Peer
) -> None:
    _baseline(root, on=True)
    watcher.forget()
    daemon.tell("repolicy", domains=["mozilla_t", "sshd_t"], baseline=False)
    (gone,) = bare(watcher.wait_signal("Repaired").body)
    assert set(gone["types_removed"]) - {"unlabeled_t"} == set(LABELS)
    assert (gone["types_added"], gone["labels_added"]) == ([], 0)
    assert gone["labels_removed"] > 0
    assert _elements(root) == []
    daemon.tell("repolicy", domains=["mozilla_t", "sshd_t"], baseline=True)
    (back,) = bare(watcher.wait_signal("Repaired").body)
    assert (back["types_added"], back["labels_added"]) == (
        gone["types_removed"],
        gone["labels_removed"],
    )
    assert str(back["labels_added"]) in back["text"]
    assert root.get("Problem") == ""


# Who, and what policy lets a domain do


def test_who_names_everybody_that_reaches_a_place_and_through_what(
    daemon: Daemon, root: Peer
) -> None:
    everybody = root.call("Who", WEB, {})
    assert {row["domain"] for row in everybody} >= {"mozilla_t", "squid_t", "sshd_t"}
    prepare(daemon)
    (row,) = root.call("Who", PLACE, {})
    assert (row["domain"], row["verdict"]) == ("mozilla_t", "allowed")
    assert row["through"] == f"granted {PLACE}"
    assert row["labels"] == ["appfwd_only_mozilla_t_packet_t"]
    other = {r["domain"]: r["through"] for r in root.call("Who", "10.9.9.9:9/tcp", {})}
    assert other["sshd_t"] == "unlabelled packets pass for all (the bridge is open)"
    _baseline(root, on=True)
    web = {r["domain"]: r for r in root.call("Who", WEB, {})}
    assert set(web) == {"mozilla_t", "squid_t", "unconfined_t", "kernel_t"}
    assert web["squid_t"]["through"] == "policy lets it use http_client_packet_t"
    assert web["squid_t"]["labels"] == ["http_client_packet_t"]


def test_who_tells_parts_and_directions_apart(root: Peer) -> None:
    _baseline(root, on=True)
    wide = {r["domain"]: r["verdict"] for r in root.call("Who", "10.0.0.5:400-500/tcp", {})}
    assert (wide["mozilla_t"], wide["unconfined_t"]) == ("partly", "allowed")
    inbound = {r["domain"] for r in root.call("Who", "any:22/tcp", {"direction": "in"})}
    assert inbound == {"sshd_t", "unconfined_t", "kernel_t"}


def test_who_and_list_types_come_in_pages(root: Peer) -> None:
    for member, first in (("Who", WEB), ("ListTypes", "unconfined_t")):
        whole = root.call(member, first, {})
        assert len(whole) > 2
        assert root.call(member, first, {"offset": 1, "limit": 1}) == whole[1:2]
        assert root.call(member, first, {"offset": len(whole)}) == []


def test_list_types_tells_rules_of_policy_and_of_ours_apart(daemon: Daemon, root: Peer) -> None:
    prepare(daemon)
    rows = {row["target"]: row for row in root.call("ListTypes", "firefox_t", {})}
    assert rows["http_client_packet_t"] == {
        "source": "mozilla_t",
        "target": "http_client_packet_t",
        "permissions": ["recv", "send"],
        "condition": "",
        "holds": True,
        "kind": "policy",
    }
    assert rows["appfwd_only_mozilla_t_packet_t"]["kind"] == "appfwd"
    assert rows["unlabeled_t"]["kind"] == "unlabelled"


# What was observed


def test_what_was_observed_is_listed_with_its_fate(daemon: Daemon, root: Peer) -> None:
    observe(daemon, [*SEEN, SEEN[0]])
    web, odd, login = root.call("ListObserved", {})
    assert (web["domain"], web["direction"], web["destination"]) == ("mozilla_t", "out", WEB)
    assert (odd["destination"], login["destination"]) == (ODD, LOGIN)
    assert (web["count"], odd["count"], login["direction"]) == (2, 1, "in")
    assert 0 < web["first"] <= web["last"]
    assert (web["label"], odd["label"]) == ("http_client_packet_t", "client_packet_t")
    assert (login["label"], login["allowed"]) == ("ssh_server_packet_t", True)
    assert (web["allowed"], odd["allowed"]) == (True, False)
    assert [row["loses"] for row in (web, odd, login)] == [True] * 3
    assert web["remedy"] == f"'appfwctl baseline on', or 'appfwctl grant mozilla_t {WEB}'"
    assert odd["remedy"] == f"'appfwctl grant mozilla_t {ODD}'"
    assert "'appfwctl grant --in sshd_t " in login["remedy"]


def test_the_list_answers_for_a_baseline_that_is_asked_for_or_on(
    daemon: Daemon, root: Peer
) -> None:
    observe(daemon)
    asked = {row["destination"]: row for row in root.call("ListObserved", {"baseline": True})}
    assert [asked[place]["loses"] for place in (WEB, ODD, LOGIN)] == [False, True, False]
    assert (asked[WEB]["remedy"], asked[WEB]["granted"]) == ("", False)
    _baseline(root, on=True)
    assert {row["destination"]: row for row in root.call("ListObserved", {})} == asked
    off = root.call("ListObserved", {"baseline": False})
    assert all(row["loses"] for row in off)


@pytest.mark.parametrize(
    ("chosen", "places"),
    [
        ({"domain": "mozilla_t"}, [WEB, ODD]),
        ({"domain": "squid_t"}, []),
        ({"direction": "in"}, [LOGIN]),
        ({"direction": "out", "domain": "sshd_t"}, []),
        ({"offset": 1, "limit": 1}, [ODD]),
    ],
)
def test_the_list_is_filtered_and_comes_in_pages(
    daemon: Daemon, root: Peer, chosen: dict[str, Any], places: list[str]
) -> None:
    observe(daemon)
    assert [row["destination"] for row in root.call("ListObserved", chosen)] == places


def test_accepting_grants_what_would_be_lost_and_nothing_else(
    daemon: Daemon, root: Peer, watcher: Peer
) -> None:
    observe(daemon)
    watcher.forget()
    ids = root.call("AcceptObserved", {"baseline": True})
    (row,) = root.call("List", {})
    assert ids == [row["id"]]
    assert (row["domain"], row["destination"], row["uid"]) == ("mozilla_t", ODD, 0)
    assert watcher.wait_signal("Added").body[0] == ids[0]
    seen = {r["destination"]: r for r in root.call("ListObserved", {"baseline": True})}
    assert (seen[ODD]["granted"], seen[ODD]["loses"]) == (True, False)
    assert root.call("AcceptObserved", {"baseline": True}) == []
    assert len(root.call("AcceptObserved", {"direction": "in"})) == 1
    assert len(root.call("AcceptObserved", {"domain": "mozilla_t"})) == 1
    root.call("SetBridge", "closed", {})
    for domain, place, more in (
        ("mozilla_t", WEB, {}),
        ("mozilla_t", ODD, {}),
        ("sshd_t", LOGIN, {"direction": "in"}),
    ):
        assert root.call("Explain", domain, place, more)["verdict"] == "allowed"
        assert root.call("Explain", "squid_t", place, more)["verdict"] == "denied"


def test_domains_that_policy_has_not_are_not_accepted(daemon: Daemon, root: Peer) -> None:
    observe(daemon, [record("gone_t", "10.0.0.1", 80), SEEN[1]])
    assert len(root.call("ListObserved", {})) == 2
    assert len(root.call("AcceptObserved", {})) == 1
    assert {row["domain"] for row in root.call("List", {})} == {"mozilla_t"}


def test_forgetting_counts_what_it_forgot(daemon: Daemon, root: Peer) -> None:
    observe(daemon)
    assert root.call("ForgetObserved", {}) == 3
    assert root.call("ListObserved", {}) == []
    assert root.call("ForgetObserved", {}) == 0


def test_what_was_never_seen_is_signalled_once(daemon: Daemon, watcher: Peer) -> None:
    observe(daemon, [SEEN[0], SEEN[0], SEEN[2]])
    (rows,) = bare(watcher.wait_signal("Observed").body)
    assert rows == [
        {"domain": "mozilla_t", "direction": "out", "destination": WEB},
        {"domain": "sshd_t", "direction": "in", "destination": LOGIN},
    ]
    observe(daemon, SEEN)
    (rows,) = bare(watcher.wait_signal("Observed").body)
    assert [row["destination"] for row in rows] == [ODD]


def test_what_others_do_is_signalled_to_root_alone(
    daemon: Daemon, watcher: Peer, nobody: Peer
) -> None:
    nobody.watch(OURS)
    observe(daemon, SEEN)
    watcher.wait_signal("Observed")
    watcher.call("Guard", ODD, {})
    # The bus delivers in order: whatever is to come before this has come.
    nobody.wait_signal("Added")
    heard = {message.member for message in nobody.kept()}
    assert "Observed" not in heard


# Previews


def test_a_preview_tells_who_would_lose_what_and_changes_nothing(
    daemon: Daemon, root: Peer
) -> None:
    observe(daemon)
    with daemon.unchanged():
        answer = root.call("Preview", "bridge-closed", {"strict": True})
        assert [row["destination"] for row in answer["loses"]] == [WEB, ODD, LOGIN]
        assert (answer["total"], answer["cut"], answer["why"]) == (3, False, "")
        on = root.call("Preview", "baseline-on", {})
        assert [row["destination"] for row in on["loses"]] == [ODD]
        for change in ("bridge-open", "bridge-observed", "baseline-off"):
            assert root.call("Preview", change, {})["total"] == 0
    _baseline(root, on=True)
    closed = root.call("Preview", "bridge-closed", {})
    assert (closed["total"], closed["loses"]) == (0, []), "the baseline has cut it already"


def test_turning_the_baseline_off_cuts_where_the_bridge_is_closed(
    daemon: Daemon, root: Peer
) -> None:
    observe(daemon)
    daemon.state()  # what waits is stored
    _baseline(root, on=True)
    root.call("SetBridge", "closed", {})
    lost = root.call("Preview", "baseline-off", {})["loses"]
    assert [row["destination"] for row in lost] == [WEB, LOGIN]


@pytest.mark.parametrize(
    ("domain", "change", "cut"),
    [
        ("sshd_t", "bridge-closed", True),
        ("sshd_t", "baseline-on", False),
        ("squid_t", "baseline-on", True),
        ("unconfined_t", "bridge-closed", False),
        ("sshd_t", "bridge-observed", False),
    ],
)
def test_a_preview_tells_whether_the_callers_own_connection_is_cut(
    root: Peer,
    domain: str,
    change: str,
    cut: bool,  # noqa: FBT001
) -> None:
    own = {"domain": domain, "destination": LOGIN, "direction": "in"}
    answer = root.call("Preview", change, own)
    assert (answer["cut"], answer["total"]) == (cut, 0)
    assert bool(answer["why"]) == cut
    if cut:
        assert f"'appfwctl grant --in {domain} {LOGIN}' keeps it" in answer["why"]
        root.call("Grant", domain, LOGIN, {"direction": "in"})
        assert not root.call("Preview", change, own)["cut"]


def test_a_preview_shows_at_most_a_page(daemon: Daemon, root: Peer) -> None:
    who = ("mozilla_t", "squid_t")
    texts = [record(who[n % 2], f"10.{n >> 8}.{n & 255}.1", 9) for n in range(1100)]
    observe(daemon, texts)
    answer = root.call("Preview", "bridge-closed", {})
    assert (len(answer["loses"]), answer["total"]) == (1000, 1100)
    assert len(root.call("AcceptObserved", {})) == 1100
