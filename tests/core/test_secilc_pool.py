"""Slots and groups of our module under the real policy compiler, read back as setools has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import setools

from appfwd.core.audience import NamedByContent
from appfwd.core.module import Module, Pool, loaded_module, module_text
from appfwd.core.verify import verify_module
from appfwd.errors import NotExclusive
from appfwd.model.policy import Rights
from appfwd.model.slots import Switches, group_attribute, slot_name, switch_name
from tests.core.samples import CONTEXTS
from tests.core.test_secilc import AB, A, build, query


def test_slots_are_used_by_those_whose_boolean_is_on(tmp_path: Path) -> None:
    """A domain that policy lacks has booleans, and no rule."""
    pool = Pool(3, frozenset({"a_t", "b_t", "gone_t"}))
    slots = dict.fromkeys(pool.names(), Rights())
    binary = build(tmp_path, module_text(Module(pool=pool), CONTEXTS))
    policy = query(binary)
    off = Switches(AB, frozenset())
    assert policy.switches == dict.fromkeys(slots, off)
    assert policy.groups == {}
    assert loaded_module(policy, CONTEXTS) == Module(slots, pool=Pool(3, AB))
    rules = setools.TERuleQuery(setools.SELinuxPolicy(str(binary)), tclass=["packet"]).results()
    found = [rule for rule in rules if str(rule.target) == slot_name(1) and _is_conditional(rule)]
    assert {str(rule.conditional) for rule in found} == {
        switch_name(slot_name(1), domain) for domain in AB
    }


def test_a_group_uses_a_slot_by_one_boolean(tmp_path: Path) -> None:
    """Each of it what it has: to send, to receive, or both; and nobody else."""
    rights = Rights(AB | {"gone_t"}, A)
    group, slot = NamedByContent().group_for(rights), slot_name(0)
    module = Module({slot: Rights()}, pool=Pool(1, frozenset({"c_t"}), {group: rights}))
    text = module_text(module, CONTEXTS)
    policy = query(build(tmp_path, text))
    assert policy.switches == {slot: Switches(frozenset({"c_t", group}), frozenset())}
    assert policy.groups == {group: Rights(AB, A)}
    # One of it is gone, so it is not what its name says.
    assert loaded_module(policy, CONTEXTS).pool.groups == {}

    whole = Rights(AB, A)
    group = NamedByContent().group_for(whole)
    module = replace(module, pool=Pool(1, frozenset({"c_t"}), {group: whole}))
    text = module_text(module, CONTEXTS)
    assert loaded_module(query(build(tmp_path, text)), CONTEXTS) == module
    name = switch_name(slot, group)
    binary = build(tmp_path, text.replace(f"(boolean {name} false)", f"(boolean {name} true)"))
    loaded = loaded_module(query(binary), CONTEXTS)
    assert loaded == replace(module, on={slot: frozenset({group})})
    assert loaded.users(slot) == whole
    verify_module(loaded, module)
    policy = setools.SELinuxPolicy(str(binary))
    given = {
        (str(source), permission)
        for rule in setools.TERuleQuery(policy, tclass=["packet"]).results()
        if str(rule.target) == slot and _is_conditional(rule) and rule.conditional.evaluate()
        for source in rule.source.expand()
        for permission in rule.perms
    }
    assert given == {("a_t", "send"), ("b_t", "send"), ("a_t", "recv")}


def hold_found_out(ours: tuple[Path, str, str], *theirs: str) -> None:
    """Hold that each of some rules of others on our slot (folder, module, slot) is found out."""
    folder, text, slot = ours
    for rule in theirs:
        loaded = loaded_module(query(build(folder, text, rule)), CONTEXTS)
        with pytest.raises(NotExclusive, match=slot):
            verify_module(loaded, Module({slot: Rights()}))


def test_what_another_module_makes_of_a_group_is_found_out(tmp_path: Path) -> None:
    rights = Rights(AB, A)
    group, slot = NamedByContent().group_for(rights), slot_name(0)
    module = Module({slot: Rights()}, pool=Pool(1, frozenset({"c_t"}), {group: rights}))
    text = module_text(module, CONTEXTS)
    send, recv = (group_attribute(group, permission) for permission in ("send", "recv"))
    theirs = f"(typeattributeset {recv} (b_t))"
    assert loaded_module(query(build(tmp_path, text, theirs)), CONTEXTS).pool.groups == {}
    name = switch_name(slot, group)
    hold_found_out(
        (tmp_path, text, slot),
        f"(allow {send} {slot} (packet (send)))",
        f"(booleanif {name} (true (allow {send} {slot} (packet (recv)))))",
        f"(booleanif {name} (false (allow {send} {slot} (packet (send)))))",
    )


def test_a_boolean_that_is_on_of_one_whom_policy_lost_is_seen(tmp_path: Path) -> None:
    """It is on when that one is back: of a domain, and of a group of none but such."""
    gone = frozenset({"gone_t"})
    group, slot = NamedByContent().group_for(Rights.both(gone)), slot_name(0)
    pool = Pool(1, A | gone, {group: Rights.both(gone)})
    text = module_text(Module(pool=pool), CONTEXTS)
    for member in ("gone_t", group):
        name = switch_name(slot, member)
        on = text.replace(f"(boolean {name} false)", f"(boolean {name} true)")
        for options in ("", "-O"):
            policy = query(build(tmp_path, on, options=options))
            assert policy.switches == {slot: Switches(A, frozenset({member}))}
            assert loaded_module(policy, CONTEXTS).pool == Pool(1, A)


def test_a_domain_that_is_named_as_a_group_has_no_part_in_its_boolean(tmp_path: Path) -> None:
    group, slot = NamedByContent().group_for(Rights.both(AB)), slot_name(0)
    text = module_text(Module(pool=Pool(1, A, {group: Rights.both(AB)})), CONTEXTS)
    theirs = f"""(type {group})(roletype object_r {group})
    (booleanif {switch_name(slot, group)} (true (allow {group} {slot} (packet (send recv)))))"""
    loaded = loaded_module(query(build(tmp_path, text, theirs)), CONTEXTS)
    with pytest.raises(NotExclusive, match=group):
        verify_module(loaded, Module({slot: Rights()}))


def _is_conditional(rule: Any) -> bool:
    try:
        return bool(rule.conditional)
    except AttributeError:
        return False


def test_a_boolean_that_is_on_is_seen_and_what_others_hang_on_it_counts_as_theirs(
    tmp_path: Path,
) -> None:
    """Another module may use our boolean, or let somebody use our slot by one of its own."""
    slot = slot_name(0)
    name = switch_name(slot, "a_t")
    ours = module_text(Module(pool=Pool(1, AB)), CONTEXTS)
    on = ours.replace(f"(boolean {name} false)", f"(boolean {name} true)")
    loaded = loaded_module(query(build(tmp_path, on)), CONTEXTS)
    assert loaded.on == {slot: A}
    assert loaded.users(slot) == Rights.both(A)
    verify_module(loaded, Module({slot: Rights()}))
    hold_found_out(
        (tmp_path, on, slot),
        f"(booleanif {name} (true (allow c_t {slot} (packet (send)))))",
        f"(booleanif {name} (false (allow a_t {slot} (packet (send recv)))))",
        f"(boolean theirs false)(booleanif theirs (true (allow a_t {slot} (packet (send)))))",
        f"(allow domain {slot} (packet (recv)))",
    )
