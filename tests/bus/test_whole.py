"""Plan, Apply and Export on the bus: what is foretold happens, and all of it or nothing."""

from __future__ import annotations

import itertools
import json
import signal
import time
from typing import Any

import pytest

from appfwd.bus.service import EACH_AT_MOST
from tests.bus.peer import Peer, Refused, body_of, manager_call
from tests.bus.running import Daemon
from tests.bus.samples import PLACE, prepare

FIRM = f"""
[[guard]]
destination = ["{PLACE}", "[2001:db8::5]:3128"]

[[guard]]
direction = "in"
destination = "any:5432"

[[fence]]
domain = "squid_t"
dns = false

[[grant]]
domain = ["mozilla_t", "squid_t"]
destination = ["{PLACE}", "10.8.0.0/16:443-445/tcp"]

[[grant]]
domain = "postgresql_t"
direction = "in"
destination = "10.0.0.0/8:5432"
boot = true
"""
#: What can be planned, as Plan and as the method take it.
PLANS: dict[str, tuple[str, tuple[str, ...], tuple[Any, ...], dict[str, Any]]] = {
    "grant": ("Grant", ("squid_t", PLACE), ("squid_t", PLACE), {}),
    "grant in another place": (
        *("Grant", ("squid_t", "10.7.0.0/16:80"), ("squid_t", "10.7.0.0/16:80")),
        {"for": 3600},
    ),
    "grant with an end": ("Grant", ("mozilla_t", PLACE), ("mozilla_t", PLACE), {"boot": True}),
    "grant again": ("Grant", ("mozilla_t", PLACE), ("mozilla_t", PLACE), {}),
    "revoke": ("Revoke", ("mozilla_t", PLACE), ("mozilla_t", PLACE), {}),
    "guard": ("Guard", ("any:22",), ("any:22",), {"direction": "in"}),
    "guard for a while": ("Guard", ("10.7.7.7",), ("10.7.7.7",), {"for": 60}),
    "unguard": ("Unguard", (PLACE,), (PLACE,), {}),
    "fence": ("Fence", ("squid_t",), ("squid_t",), {"dns": False}),
    "unfence": ("Unfence", ("mozilla_t",), ("mozilla_t",), {}),
    "bridge": ("SetBridge", ("closed",), ("closed",), {"strict": True}),
    "observe": ("SetBridge", ("observed",), ("observed",), {}),
    "baseline": ("SetBaseline", ("on",), (True,), {}),
    "no baseline": ("SetBaseline", ("off",), (False,), {}),
    "apply": ("Apply", (FIRM,), (FIRM,), {}),
    "apply nothing": ("Apply", ("",), ("",), {}),
    "up": ("Up", (), (), {}),
    "down": ("Down", (), (), {}),
}
BY_PLAN = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def _begin(daemon: Daemon, root: Peer) -> None:
    """Have a guard, a grant of it, and mozilla_t fenced."""
    prepare(daemon)
    root.call("Fence", "mozilla_t", {})
    daemon.tell("clear")


def _elements(root: Peer) -> set[str]:
    return {json.dumps(row, sort_keys=True) for row in root.call("GetRules", {})["elements"]}


@BY_PLAN
def test_what_a_plan_foretells_happens_and_only_when_it_is_called(
    daemon: Daemon, root: Peer, plan: tuple[str, tuple[str, ...], tuple[Any, ...], dict[str, Any]]
) -> None:
    method, words, arguments, options = plan
    _begin(daemon, root)
    with daemon.unchanged():
        foretold = root.call("Plan", method, list(words), options)
    assert set(daemon.tell("reached")) <= {"list"}
    before, rows = _elements(root), _members(root)
    module = daemon.state()["module"]
    daemon.tell("clear")
    root.call(method, *arguments, options)
    reached = daemon.tell("reached")
    assert reached.get("install", 0) + reached.get("remove", 0) == foretold["policy_loads"]
    assert reached.get("nft", 0) == foretold["transactions"]
    after = _elements(root)
    assert _said(foretold, "elements", "add") == after - before
    assert _said(foretold, "elements", "remove") == before - after
    now = _members(root)
    said = {(r["change"], r["kind"], r["domain"], r["destination"]) for r in foretold["members"]}
    assert {one[1:] for one in said if one[0] == "add"} == now.keys() - rows.keys()
    assert {one[1:] for one in said if one[0] == "remove"} == rows.keys() - now.keys()
    changed = {key for key in now.keys() & rows.keys() if (now[key] != 0) != (rows[key] != 0)}
    assert {one[1:] for one in said if one[0] == "end"} == changed
    assert bool(foretold["policy"]) == (daemon.state()["module"] != module)


def _said(foretold: dict[str, Any], key: str, change: str) -> set[str]:
    rows = [row for row in foretold[key] if row["change"] == change]
    return {
        json.dumps({k: v for k, v in row.items() if k != "change"}, sort_keys=True) for row in rows
    }


def _members(root: Peer) -> dict[tuple[str, str, str], float]:
    rows = root.call("List", {})
    return {(row["kind"], row["domain"], row["destination"]): row["ends"] for row in rows}


@pytest.mark.parametrize("plan", [p for p in PLANS.values() if p[0] not in ("Up", "Down")], ids=str)
def test_who_a_plan_says_gains_and_loses_is_who_the_answers_then_differ_for(
    daemon: Daemon, root: Peer, plan: tuple[str, tuple[str, ...], tuple[Any, ...], dict[str, Any]]
) -> None:
    method, words, arguments, options = plan
    _begin(daemon, root)
    foretold = root.call("Plan", method, list(words), options)
    assert len(foretold["effects"]) == foretold["effects_total"]
    tried = [p for row in foretold["effects"] for p in row["where"] if "(" not in p]
    expected = {
        (place, domain): sign
        for row in foretold["effects"]
        for sign, key in (("allowed", "gains"), ("denied", "loses"))
        for place, domain in itertools.product(row["where"], row[key])
    }
    before = {place: _reach(root, place) for place in tried}
    root.call(method, *arguments, options)
    after = {place: _reach(root, place) for place in tried}
    for place in tried:
        gained, lost = after[place] - before[place], before[place] - after[place]
        assert {d for (p, d), sign in expected.items() if (p, sign) == (place, "allowed")} == gained
        assert {d for (p, d), sign in expected.items() if (p, sign) == (place, "denied")} == lost


def _reach(root: Peer, place: str) -> set[str]:
    destination, _, direction = place.partition(" ")
    options = {"direction": "in"} if direction else {}
    rows = root.call("Who", destination, options)
    return {row["domain"] for row in rows if row["verdict"] == "allowed"} - {"kernel_t"}


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (("Grant", ("mozila_t", PLACE), {}), "UnknownDomain"),
        (("Grant", ("mozilla_t",), {}), "InvalidArgument"),
        (("Grant", ("mozilla_t", PLACE, PLACE), {}), "InvalidArgument"),
        (("Grant", ("mozilla_t", "x"), {}), "InvalidDestination"),
        (("Grant", ("mozilla_t", PLACE), {"until": 1.0, "boot": True}), "InvalidOption"),
        (("Revoke", ("squid_t", PLACE), {}), "NotFound"),
        (("Unguard", ("10.9.9.9",), {}), "NotFound"),
        (("Unfence", ("squid_t",), {}), "NotFound"),
        (("SetBridge", ("ajar",), {}), "InvalidArgument"),
        (("SetBaseline", ("true",), {}), "InvalidArgument"),
        (("Apply", ("guard = 1",), {}), "InvalidDocument"),
        (("Apply", ("",), {"for": 60}), "InvalidOption"),
        (("Confirm", (), {}), "InvalidArgument"),
        (("List", (), {}), "InvalidArgument"),
        (("Plan", ("Up",), {}), "InvalidArgument"),
        (("", (), {}), "InvalidArgument"),
        (("\x01", (), {}), "InvalidArgument"),
    ],
)
def test_a_plan_is_refused_with_the_error_of_the_call(
    daemon: Daemon, root: Peer, call: tuple[str, tuple[str, ...], dict[str, Any]], error: str
) -> None:
    method, words, options = call
    _begin(daemon, root)
    with daemon.unchanged(), pytest.raises(Refused) as caught:
        root.call("Plan", method, list(words), options)
    assert caught.value.name == f"org.appfwd1.Error.{error}"


def _many(count: int) -> str:
    places = ",\n".join(f'"10.{n >> 8 & 255}.{n & 255}.1:443/tcp"' for n in range(count // 2))
    guard = '[[guard]]\ndestination = "10.0.0.0/8"\n'
    return f'{guard}[[grant]]\ndomain = ["mozilla_t", "squid_t"]\ndestination = [\n{places}\n]\n'


def test_ten_thousand_grants_are_one_transaction_and_one_load(daemon: Daemon, root: Peer) -> None:
    text = _many(10_000)
    with daemon.unchanged():
        foretold = root.call("Plan", "Apply", [text], {})
    assert (foretold["members_total"], len(foretold["members"])) == (10_001, 1000)
    daemon.tell("clear")
    assert root.call("Apply", text, {}) == {"added": 10_001, "removed": 0}
    reached = daemon.tell("reached")
    assert (reached["nft"], reached["save"]) == (1, 1)
    assert reached.get("install", 0) <= 1
    daemon.tell("clear")
    assert root.call("Apply", root.call("Export", {}), {}) == {"added": 0, "removed": 0}
    assert set(daemon.tell("reached")) <= {"list", "save", "keep"}
    daemon.tell("clear")
    assert root.call("Apply", "", {}) == {"added": 0, "removed": 10_001}
    assert daemon.tell("reached")["nft"] == 1


def test_one_bad_line_among_ten_thousand_stops_all(daemon: Daemon, root: Peer) -> None:
    _begin(daemon, root)
    text = _many(10_000).replace("10.9.9.1:", "10.9.9.1;")
    line = text[: text.index(";")].count("\n") + 1
    with daemon.unchanged(), pytest.raises(Refused) as caught:
        root.call("Apply", text, {})
    assert caught.value.name == "org.appfwd1.Error.InvalidDocument"
    assert str(caught.value).split(": ", 1)[-1].startswith(f"line {line}, column 1: ")


@pytest.mark.parametrize(
    ("place", "error"), [("nft", "TableFailed"), ("save", "StoreFailed"), ("install", "Busy")]
)
def test_what_fails_halfway_leaves_all_as_it_was(
    daemon: Daemon, root: Peer, place: str, error: str
) -> None:
    _begin(daemon, root)
    daemon.fail(place, error)
    places = (PLACE, "10.8.0.1:443/tcp", "any:5432 inbound", "10.9.9.9")
    before = [_reach(root, one) for one in places]
    # Types that nothing has a use for may stay in the module until it is loaded again.
    with daemon.unchanged("module"), pytest.raises(Refused, match=error):
        root.call("Apply", FIRM, {})
    assert [_reach(root, one) for one in places] == before
    assert root.call("Apply", FIRM, {})["added"] > 0


def test_the_export_of_everything_is_what_comes_back_after_all_is_gone(
    daemon: Daemon, root: Peer
) -> None:
    root.call("Apply", FIRM, {})
    root.call("SetBridge", "closed", {"strict": True})
    root.call("SetBaseline", True, {})  # noqa: FBT003
    root.call("Grant", "sshd_t", "any:22", {"direction": "in", "until": time.time() + 9e4})
    kept, text = daemon.state(), root.call("Export", {})
    root.call("Apply", '[settings]\nbridge = "open"\nbaseline = false\n', {})
    assert daemon.state()["members"] == []
    root.call("Apply", text, {})
    assert daemon.state() == kept
    assert root.call("Export", {}) == text


def test_a_grant_that_is_over_does_not_come(root: Peer) -> None:
    text = (
        '[[grant]]\ndomain = "mozilla_t"\ndestination = "any:443"\nuntil = 2001-01-01T00:00:00Z\n'
    )
    assert root.call("Plan", "Apply", [text], {})["members"] == []
    assert root.call("Apply", text, {}) == {"added": 0, "removed": 0}
    assert root.call("List", {"ended": True}) == []


def test_a_trial_is_over_once_a_document_speaks_of_it(daemon: Daemon, root: Peer) -> None:
    root.call("Guard", PLACE, {"for": 600})
    root.call("SetBridge", "closed", {"for": 600})
    assert daemon.state()["trials"] == 2
    root.call("Apply", f'[[guard]]\ndestination = "{PLACE}"\n', {})
    assert daemon.state()["trials"] == 1  # settings stay as they are, on trial
    root.call("Apply", root.call("Export", {}), {})
    assert daemon.state()["trials"] == 0
    assert daemon.state()["settings"][0] == "closed"


def test_calls_that_come_at_once_with_a_document_are_kept_or_go_as_they_came(
    daemon: Daemon, root: Peer
) -> None:
    with daemon.peer() as other:
        serials = []
        with daemon.held("list"):
            first = root.send(manager_call("Guard", "10.1.0.1", {}))
            daemon.wait_reached("list")
            serials.append(other.send(manager_call("Guard", "10.1.0.2", {})))
            daemon.wait_queued(1)
        for peer, serial in ((root, first), *((other, one) for one in serials)):
            peer.reply_to(serial)
        root.call("Apply", f'[[guard]]\ndestination = "{PLACE}"\n', {})
        other.call("Guard", "10.1.0.3", {})
    assert {row["destination"] for row in root.call("List", {})} == {PLACE, "10.1.0.3"}


HOSTILE = {
    "a product": '[[grant]]\ndomain=["a{}_t"]\ndestination=["any:{}"]\n'.format(
        '_t","a'.join(map(str, range(2000))), '","any:'.join(map(str, range(1, 2000)))
    ),
    "the same again and again": "[[grant]]\ndomain=[{}]\ndestination=[{}]\n".format(
        '"mozila_t",' * 60_000, '"any:1",' * 60_000
    ),
    "dotted keys": ".".join("a" * 100_000) + "=1\n",
    "unknown domains": "[[fence]]\ndomain=[{}]\n".format(
        ",".join(f'"mozilla{n}_t"' for n in range(6000))
    ),
    "depth": "x = " + "[" * 493 + "1" + "]" * 493 + "\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_who_may_only_ask_holds_nobody_up(daemon: Daemon, root: Peer, text: str) -> None:
    """While such documents are looked at others are answered, and grants end."""
    with daemon.peer() as asking, daemon.peer() as watcher:
        watcher.watch("type='signal',sender='org.appfwd1'")
        number = root.call("Grant", "mozilla_t", PLACE, {"for": 2})
        preview = manager_call("Preview", "apply", {"subject": text})
        plan = manager_call("Plan", "Apply", [text], {})
        sent = [asking.send(call) for call in (preview, plan) * 4]
        assert root.call("Guard", "10.1.0.1", {})
        assert watcher.wait_signal("Removed").body[0] == number
        for serial in sent:
            with pytest.raises(Refused) as caught:
                body_of(asking.reply_to(serial))
            assert caught.value.name == "org.appfwd1.Error.InvalidDocument"


def test_more_plans_than_can_wait_are_refused(daemon: Daemon, root: Peer) -> None:
    root.call("Guard", "10.1.0.1", {})
    with daemon.peer() as asking, daemon.held("list"):
        sent = [asking.send(manager_call("Plan", "Guard", ["10.1.0.2"], {})) for _ in range(40)]
        with pytest.raises(Refused) as caught:
            body_of(asking.reply_to(sent[-1]))
        assert caught.value.name == "org.appfwd1.Error.Busy"


@pytest.mark.parametrize("place", ["install", "nft", "save"])  # what the writer alone does
def test_a_change_that_is_under_way_is_finished_before_the_daemon_stops(
    daemon: Daemon, root: Peer, place: str
) -> None:
    _begin(daemon, root)
    with daemon.held(place):
        serial = root.send(manager_call("Apply", FIRM, {}))
        daemon.wait_reached(place)
        daemon.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    assert body_of(root.reply_to(serial))
    assert daemon.wait() == 0
    daemon.start()
    with daemon.peer() as again:
        assert again.call("Apply", FIRM, {}) == {"added": 0, "removed": 0}


def test_a_plan_tells_of_trials_that_it_would_end(daemon: Daemon, root: Peer) -> None:
    root.call("Guard", PLACE, {"for": 600})
    plan = root.call("Plan", "Guard", [PLACE], {})
    assert (plan["trials_over"], plan["members"]) == (1, [])
    assert root.call("Plan", "Apply", [root.call("Export", {})], {})["trials_over"] == 1
    root.call("Guard", PLACE, {})
    assert daemon.state()["trials"] == 0
    assert root.call("Plan", "Guard", [PLACE], {})["trials_over"] == 0


def test_the_same_end_again_is_no_change(root: Peer) -> None:
    root.call("Grant", "mozilla_t", PLACE, {"boot": True})
    assert root.call("Plan", "Grant", ["mozilla_t", PLACE], {"boot": True})["members"] == []


@pytest.mark.parametrize("more", [0, 1])
def test_very_many_that_come_and_go_at_once_are_counted(
    root: Peer, watcher: Peer, more: int
) -> None:
    count = EACH_AT_MOST + more
    places = [f"10.{n >> 8}.{n & 255}.1" for n in range(count)]
    text = f'[[grant]]\ndomain = "squid_t"\ndestination = {json.dumps(places)}\n'
    for document, changed in ((text, [count, 0]), ("", [0, count])):
        watcher.forget()
        root.call("Apply", document, {})
        watcher.call("List", {})
        each = watcher.signals("Added") + watcher.signals("Removed")
        assert len(each) == (0 if more else count)
        counted = [message.body for message in watcher.signals("ManyChanged")]
        assert counted == ([changed] if more else [])
