"""Fences over the bus: who is shut in, what is refused, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest

from appfwd.core.module import FENCED_ATTRIBUTE
from tests.bus.peer import Peer, Refused
from tests.bus.running import Daemon
from tests.bus.samples import PLACE

#: How the module says that mozilla_t is fenced.
FENCE = f"(typeattributeset {FENCED_ATTRIBUTE} (mozilla_t))"


def _fences(root: Peer) -> list[dict[str, Any]]:
    return list(root.call("List", {"kind": "fence"}))


def test_a_fence_is_listed_told_and_in_the_policy(
    daemon: Daemon, root: Peer, watcher: Peer
) -> None:
    number = root.call("Fence", "mozilla_t", {})
    (row,) = _fences(root)
    assert (row["id"], row["domain"], row["destination"]) == (number, "mozilla_t", "")
    assert row["spares"] == ["loopback", "dns"]
    assert watcher.wait_signal("Added").body[0] == number
    assert FENCE in daemon.state()["module"]


def test_other_options_change_the_fence_and_make_no_second(root: Peer) -> None:
    root.call("Fence", "mozilla_t", {})
    root.call("Fence", "mozilla_t", {"dns": False, "loopback": False})
    (row,) = _fences(root)
    assert row["spares"] == []


def test_the_same_again_changes_nothing(daemon: Daemon, root: Peer) -> None:
    number = root.call("Fence", "mozilla_t", {"dns": False})
    before = daemon.state()
    assert root.call("Fence", "mozilla_t", {"dns": False}) == number
    assert daemon.state() == before


def test_an_unfenced_domain_is_out_of_the_policy_and_that_is_told(
    daemon: Daemon, root: Peer, watcher: Peer
) -> None:
    number = root.call("Fence", "mozilla_t", {})
    root.call("Unfence", "mozilla_t", {})
    assert _fences(root) == []
    assert watcher.wait_signal("Removed").body[0] == number
    assert "(deny " not in daemon.state()["module"]


def test_an_alias_fences_and_frees_the_domain_that_it_means(root: Peer) -> None:
    root.call("Fence", "firefox_t", {})
    assert [row["domain"] for row in _fences(root)] == ["mozilla_t"]
    root.call("Unfence", "firefox_t", {})
    assert _fences(root) == []


REFUSED = {
    "no such domain": (("Fence", "mozila_t", {}), "UnknownDomain", "mozilla_t"),
    "the kernel": (("Fence", "kernel_t", {}), "InvalidArgument", "every connection needs"),
    "no name": (("Fence", "a b(", {}), "InvalidDomain", "domain"),
    "an option of grants": (("Fence", "mozilla_t", {"boot": True}), "InvalidOption", "boot"),
    "dns as a word": (("Fence", "mozilla_t", {"dns": "no"}), "InvalidOption", "dns"),
    "a trial of no time": (("Fence", "mozilla_t", {"for": 0}), "InvalidOption", "for"),
    "no fence": (("Unfence", "squid_t", {}), "NotFound", "not fenced"),
    "an option to unfence": (("Unfence", "squid_t", {"dns": True}), "InvalidOption", "dns"),
    "nothing to preview": (("Preview", "fence", {}), "InvalidOption", "'subject'"),
    "a fence of nobody to preview": (
        ("Preview", "fence", {"subject": "mozila_t"}),
        "UnknownDomain",
        "mozilla_t",
    ),
}


@pytest.mark.parametrize(("call", "error", "text"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    daemon: Daemon, root: Peer, call: tuple[Any, ...], error: str, text: str
) -> None:
    before = daemon.state()
    with pytest.raises(Refused, match=text) as refused:
        root.call(*call)
    assert refused.value.name.endswith(error)
    assert daemon.state() == before


def test_a_policy_toolchain_without_deny_rules_is_named_and_nothing_changes(
    daemon: Daemon, root: Peer
) -> None:
    before = daemon.state()
    daemon.fail("install", "PolicyUnsupported", "It takes libsepol 3.6.")
    with pytest.raises(Refused, match=r"libsepol 3\.6") as refused:
        root.call("Fence", "mozilla_t", {})
    assert refused.value.name.endswith("PolicyUnsupported")
    assert daemon.state() == before


def test_a_fence_on_trial_goes_back_to_what_it_was(root: Peer, watcher: Peer) -> None:
    root.call("Fence", "mozilla_t", {"dns": False})
    root.call("Fence", "mozilla_t", {"for": 1})
    assert _fences(root)[0]["spares"] == ["loopback", "dns"]
    (what,) = watcher.wait_signal("Reverted").body
    assert "mozilla_t" in what
    assert _fences(root)[0]["spares"] == ["loopback"]


def test_a_fence_on_trial_goes_away_where_there_was_none(root: Peer, watcher: Peer) -> None:
    root.call("Fence", "mozilla_t", {"for": 1})
    watcher.wait_signal("Reverted")
    assert _fences(root) == []


def test_a_fence_survives_the_domains_policy_and_comes_into_force_with_it(
    daemon: Daemon, root: Peer
) -> None:
    root.call("Fence", "mozilla_t", {})
    daemon.tell("repolicy", domains=["squid_t"], baseline=True)
    _settled(root, dormant=True)
    daemon.tell("repolicy", domains=["squid_t", "mozilla_t"], baseline=True)
    _settled(root, dormant=False)
    assert root.call("Explain", "mozilla_t", PLACE, {})["verdict"] == "denied"


def _settled(root: Peer, *, dormant: bool) -> None:
    for _ in range(200):
        (row,) = _fences(root)
        if row["dormant"] is dormant:
            return
    pytest.fail(f"the fence is not {'dormant' if dormant else 'in force'}")


def test_explain_names_the_fence_and_what_it_spares(root: Peer) -> None:
    root.call("Fence", "mozilla_t", {})
    answer = root.call("Explain", "mozilla_t", PLACE, {})
    assert (answer["fenced"], answer["differs"]) == (True, "")
    assert "127.0.0.0/8" in answer["spared"]
    assert not root.call("Explain", "squid_t", PLACE, {})["fenced"]


OWN = {"domain": "mozilla_t", "destination": PLACE}
CUTS = {
    "its fence": ("fence", {"subject": "mozilla_t"}, True),
    "anothers fence": ("fence", {"subject": "squid_t"}, False),
    "its place's guard": ("guard", {"subject": "10.0.0.0/8"}, True),
    "another guard": ("guard", {"subject": "10.1.0.0/16"}, False),
    "an inbound guard": ("guard", {"subject": "any", "subject-direction": "in"}, False),
}


@pytest.mark.parametrize(("change", "subject", "cut"), CUTS.values(), ids=CUTS)
def test_a_preview_tells_whether_the_callers_own_connection_would_be_cut(
    daemon: Daemon,
    root: Peer,
    change: str,
    subject: dict[str, Any],
    cut: bool,  # noqa: FBT001
) -> None:
    before = daemon.state()
    answer = root.call("Preview", change, {**subject, **OWN})
    assert answer["cut"] is cut
    assert ("appfwctl grant mozilla_t 10.0.0.5:3128" in answer["why"]) is cut
    assert daemon.state() == before


def test_a_grant_keeps_the_callers_own_connection(root: Peer) -> None:
    root.call("Grant", "mozilla_t", PLACE, {})
    for change, subject in (("fence", "mozilla_t"), ("guard", PLACE)):
        assert not root.call("Preview", change, {"subject": subject, **OWN})["cut"]
