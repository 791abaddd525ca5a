"""Our module through the real policy compiler, and the query of the loaded policy on its result.

Needs secilc (Debian package secilc) and setools of the system (python3-setools).
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import setools

from appfwd.adapters import policyprogram, policyquery
from appfwd.core.audience import NamedByContent
from appfwd.core.avc import FIRST_TYPES, NEW_TYPES, SEEN_TYPES
from appfwd.core.baseline import Baseline
from appfwd.core.compiler import compile_state
from appfwd.core.machine import Machine
from appfwd.core.module import (
    BRIDGE_ATTRIBUTE,
    FENCED_ATTRIBUTE,
    Module,
    Pool,
    is_current,
    loaded_module,
    module_text,
)
from appfwd.core.verify import verify_module
from appfwd.errors import NotExclusive
from appfwd.model.policy import LoadedPolicy, Rights
from appfwd.model.slots import Switches, group_attribute, slot_name, switch_name
from appfwd.model.state import Bridge
from tests.core.samples import CONTEXTS, EPHEMERAL, UNLABELED
from tests.core.stories import state_of

BASE = Path(__file__).with_name("base.cil")
ONLY_A, ONLY_B = "appfwd_only_a_t_packet_t", "appfwd_only_b_t_packet_t"
A, B, AB = frozenset({"a_t"}), frozenset({"b_t"}), frozenset({"a_t", "b_t"})
KERNEL = Rights(send=frozenset({"kernel_t"}))


def build(folder: Path, *modules: str, compiles: bool = True, options: str = "") -> Path:
    """Compile the base and ``modules`` as semodule would; return the binary policy."""
    paths = [BASE]
    for number, text in enumerate(modules):
        paths.append(folder / f"module{number}.cil")
        paths[-1].write_text(text, "ascii")
    binary, contexts = folder / "policy", folder / "file_contexts"
    command = ["secilc", *options.split(), "-o", str(binary), "-f", str(contexts), *map(str, paths)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode == 0) is compiles, run.stderr
    return binary


def query(binary: Path) -> LoadedPolicy:
    """Return what the query says of a binary policy."""
    answer = policyprogram.query(
        UNLABELED, BRIDGE_ATTRIBUTE, FENCED_ATTRIBUTE, CONTEXTS.loader, str(binary)
    )
    return policyquery._decode(answer)


def every_right(binary: Path) -> set[tuple[str, str, str]]:
    """Return (domain, packet type, permission) of every rule in force, asked of setools alone."""
    policy = setools.SELinuxPolicy(str(binary))
    rules = setools.TERuleQuery(policy, ruletype=["allow"], tclass=["packet"]).results()
    return {
        (str(source), str(target), str(permission))
        for rule in rules
        for source in rule.source.expand()
        for target in rule.target.expand()
        for permission in rule.perms
    }


BASELINE = {
    ("kernel_t", UNLABELED, "send"),
    ("c_t", UNLABELED, "send"),
    ("c_t", UNLABELED, "recv"),
    *((d, "packet_t", p) for d in ("kernel_t", "appfwd_t", *"abc") for p in ("send", "recv")),
}
BASELINE = {(d + "_t" if len(d) == 1 else d, t, p) for d, t, p in BASELINE}
#: What any module of ours has: the types of first packets, which nobody may use yet.
EMPTY = {("appfwd_t", UNLABELED, "relabelto")}
EMPTY |= {("kernel_t", name, "send") for name in FIRST_TYPES}
EMPTY |= {("appfwd_t", name, "relabelto") for name in FIRST_TYPES}


def _both(domains: frozenset[str] | set[str], packet_type: str) -> set[tuple[str, str, str]]:
    return {(d, packet_type, p) for d in domains for p in ("send", "recv")}


def test_the_base_alone_has_the_baseline_and_nothing_of_ours(tmp_path: Path) -> None:
    binary = build(tmp_path)
    assert every_right(binary) == BASELINE
    policy = query(binary)
    assert policy.domains == {"kernel_t", "appfwd_t", "a_t", "b_t", "c_t"}
    assert policy.packet_rights == {}
    assert policy.unlabeled == Rights(frozenset({"kernel_t", "c_t"}), frozenset({"c_t"}))
    assert not policy.bridge
    assert policy.aliases == {"old_a_t": "a_t"}
    assert "packet_type" in policy.attributes
    assert "file_t" in policy.types


@pytest.mark.parametrize("bridge", [True, False])
def test_a_module_gives_exactly_the_rights_it_says(tmp_path: Path, *, bridge: bool) -> None:
    """Types of one user, of several, of send alone, of nobody, and of a domain not there."""
    several = NamedByContent().type_for(Rights(AB, A))
    nobody = NamedByContent().type_for(Rights())
    gone = NamedByContent().type_for(Rights.both(frozenset({"gone_t"})))
    types = {
        ONLY_A: Rights.both(A),
        several: Rights(AB, A),
        nobody: Rights(),
        gone: Rights.both(frozenset({"gone_t"})),
    }
    module = Module(types, bridge)
    binary = build(tmp_path, module_text(module, CONTEXTS))
    wanted = BASELINE | _both(A, ONLY_A)
    wanted |= {("a_t", several, "send"), ("b_t", several, "send"), ("a_t", several, "recv")}
    for name in types:
        wanted |= {("kernel_t", name, "send"), ("appfwd_t", name, "relabelto")}
    wanted |= EMPTY
    policy = query(binary)
    if bridge:
        for name in (UNLABELED, *NEW_TYPES):
            wanted |= _both(policy.domains, name)
    assert every_right(binary) == wanted
    present = {**types, gone: Rights()}
    assert policy.packet_rights == {name: rights | KERNEL for name, rights in present.items()}
    assert policy.bridge is bridge
    assert is_current(policy)
    assert policy.unlabeled == Rights(frozenset({"kernel_t", "c_t"}), frozenset({"c_t"}))
    assert loaded_module(policy, CONTEXTS) == Module(present, bridge)


@pytest.mark.parametrize("bridge", list(Bridge))
def test_a_compiled_state_loads_as_it_was_meant(tmp_path: Path, bridge: Bridge) -> None:
    grants = (("a_t", "10.0.0.5"), ("b_t", "10.0.0.0/8:80"), ("gone_t", "any"))
    state = state_of("10.0.0.0/24", "in any:22", grants=grants, bridge=bridge)
    machine = Machine(query(build(tmp_path)), CONTEXTS, EPHEMERAL, Baseline())
    artefacts = compile_state(state, machine)
    policy = query(build(tmp_path, module_text(artefacts.module, CONTEXTS)))
    loaded = loaded_module(policy, CONTEXTS)
    assert loaded == artefacts.module
    verify_module(loaded, artefacts.module)
    again = compile_state(state, Machine(policy, CONTEXTS, EPHEMERAL, Baseline()))
    assert again == artefacts


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


def test_what_another_module_makes_of_a_group_is_found_out(tmp_path: Path) -> None:
    rights = Rights(AB, A)
    group, slot = NamedByContent().group_for(rights), slot_name(0)
    module = Module({slot: Rights()}, pool=Pool(1, frozenset({"c_t"}), {group: rights}))
    text = module_text(module, CONTEXTS)
    send, recv = (group_attribute(group, permission) for permission in ("send", "recv"))
    theirs = f"(typeattributeset {recv} (b_t))"
    assert loaded_module(query(build(tmp_path, text, theirs)), CONTEXTS).pool.groups == {}
    name = switch_name(slot, group)
    for theirs in (
        f"(allow {send} {slot} (packet (send)))",
        f"(booleanif {name} (true (allow {send} {slot} (packet (recv)))))",
        f"(booleanif {name} (false (allow {send} {slot} (packet (send)))))",
    ):
        loaded = loaded_module(query(build(tmp_path, text, theirs)), CONTEXTS)
        with pytest.raises(NotExclusive, match=slot):
            verify_module(loaded, Module({slot: Rights()}))


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
    for theirs in (
        f"(booleanif {name} (true (allow c_t {slot} (packet (send)))))",
        f"(booleanif {name} (false (allow a_t {slot} (packet (send recv)))))",
        f"(boolean theirs false)(booleanif theirs (true (allow a_t {slot} (packet (send)))))",
        f"(allow domain {slot} (packet (recv)))",
    ):
        loaded = loaded_module(query(build(tmp_path, on, theirs)), CONTEXTS)
        with pytest.raises(NotExclusive, match=slot):
            verify_module(loaded, Module({slot: Rights()}))


def test_an_empty_module_compiles(tmp_path: Path) -> None:
    assert every_right(build(tmp_path, module_text(Module(), CONTEXTS))) == BASELINE | EMPTY


def test_observed_packets_pass_for_every_domain_and_are_recorded(tmp_path: Path) -> None:
    binary = build(tmp_path, module_text(Module(observed=True), CONTEXTS))
    domains = query(binary).domains
    passing = {right for name in SEEN_TYPES for right in _both(domains, name)}
    assert every_right(binary) == BASELINE | EMPTY | passing
    policy = setools.SELinuxPolicy(str(binary))
    audited = setools.TERuleQuery(policy, ruletype=["auditallow"], tclass=["packet"]).results()
    found = {
        (str(source), str(target), permission)
        for rule in audited
        for source in rule.source.expand()
        for target in rule.target.expand()
        for permission in rule.perms
    }
    assert found == passing
    assert loaded_module(query(binary), CONTEXTS) == Module(observed=True)


def test_a_strict_module_has_the_capability_and_opens_what_else_it_checks(tmp_path: Path) -> None:
    """The second base has the classes of those checks; the first lacks them, and compiles too."""
    text = module_text(Module(strict=True), CONTEXTS)
    more = """
    (class peer (recv))(class netif (ingress egress))(class node (recvfrom sendto))
    (classorder (unordered peer netif node))
    (type netif_t)(type node_t)(roletype object_r netif_t)(roletype object_r node_t)
    (typeattribute netif_type)(typeattributeset netif_type (netif_t))
    (typeattribute node_type)(typeattributeset node_type (node_t))
    """
    for base in ("", more):
        binary = build(tmp_path, base + text)
        policy = setools.SELinuxPolicy(str(binary))
        assert "always_check_network" in {str(c) for c in policy.polcaps()}
    assert loaded_module(query(binary), CONTEXTS) == Module(strict=True)
    for kind, targets in (("peer", {UNLABELED}), ("netif", {"netif_t"}), ("node", {"node_t"})):
        rules = list(setools.TERuleQuery(policy, ruletype=["allow"], tclass=[kind]).results())
        sources = {str(s) for rule in rules for s in rule.source.expand()}
        assert sources >= query(binary).domains
        assert {str(t) for rule in rules for t in rule.target.expand()} == targets


def test_a_type_declared_twice_is_refused_by_the_real_compiler(tmp_path: Path) -> None:
    """Why types of other modules must never be taken for ours and declared again."""
    build(tmp_path, module_text(Module({"file_t": Rights()}), CONTEXTS), compiles=False)


CULPRITS = {
    "a rule of its own": f"(allow b_t {ONLY_A} (packet (recv)))",
    "an attribute of its own": (
        "(typeattribute theirs) (typeattributeset theirs (b_t))"
        f"(allow theirs {ONLY_A} (packet (recv)))"
    ),
    "our attribute of packet types": "(allow b_t appfwd_packet_type (packet (recv)))",
    "our type put in theirs": (
        f"(typeattribute opened) (typeattributeset opened ({ONLY_A}))"
        "(allow b_t opened (packet (recv)))"
    ),
    "a boolean that is on": f"(booleanif on (true (allow b_t {ONLY_A} (packet (recv)))))",
    "a boolean that is off": f"(booleanif off (true (allow b_t {ONLY_A} (packet (recv)))))",
    "the other half of a boolean": f"(booleanif on (false (allow b_t {ONLY_A} (packet (recv)))))",
}


@pytest.mark.parametrize("culprit", CULPRITS.values(), ids=CULPRITS.keys())
def test_another_modules_rule_on_our_type_is_found(tmp_path: Path, culprit: str) -> None:
    """Also one behind a boolean that is off, since somebody can set it."""
    module = Module({ONLY_A: Rights.both(A)})
    policy = query(build(tmp_path, module_text(module, CONTEXTS), culprit))
    assert policy.packet_rights[ONLY_A] - KERNEL == Rights(A, AB)
    with pytest.raises(NotExclusive, match="b_t may receive"):
        verify_module(loaded_module(policy, CONTEXTS), module)


def test_a_rule_on_our_types_by_the_bridges_attribute_is_found_too(tmp_path: Path) -> None:
    """The bridge is its attribute on unlabelled packets, not whatever has that source."""
    module = Module({ONLY_A: Rights.both(A)}, bridge=True)
    culprit = f"(allow {BRIDGE_ATTRIBUTE} {ONLY_A} (packet (recv)))"
    policy = query(build(tmp_path, module_text(module, CONTEXTS), culprit))
    assert policy.packet_rights[ONLY_A].recv == policy.domains
    assert policy.bridge


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("(booleanif on (true (allow b_t unlabeled_t (packet (recv)))))", True),
        ("(booleanif off (true (allow b_t unlabeled_t (packet (recv)))))", False),
        ("(booleanif on (false (allow b_t unlabeled_t (packet (recv)))))", False),
        ("(booleanif off (false (allow b_t unlabeled_t (packet (recv)))))", True),
        ("(booleanif (and on (not off)) (true (allow b_t unlabeled_t (packet (recv)))))", True),
    ],
)
def test_of_unlabelled_packets_the_rules_that_hold_now_count(
    tmp_path: Path, rule: str, *, holds: bool
) -> None:
    policy = query(build(tmp_path, rule))
    assert ("b_t" in policy.unlabeled.recv) is holds
    assert policy.unlabeled.send == {"kernel_t", "c_t"}


def test_the_compiler_drops_rules_that_the_bridge_covers(tmp_path: Path) -> None:
    """As semodule does (optimize-policy): why closing the bridge needs a second look at policy."""
    bridged = module_text(Module({ONLY_A: Rights.both(A)}, bridge=True), CONTEXTS)
    shut = module_text(Module({ONLY_A: Rights.both(A)}), CONTEXTS)
    policy = query(build(tmp_path, bridged, options="-O"))
    assert policy.bridge
    assert policy.unlabeled == Rights()
    assert policy.packet_rights == {ONLY_A: Rights.both(A) | KERNEL}
    policy = query(build(tmp_path, shut, options="-O"))
    assert policy.unlabeled == Rights(frozenset({"kernel_t", "c_t"}), frozenset({"c_t"}))


def test_types_of_other_modules_are_not_taken_for_ours(tmp_path: Path) -> None:
    other = "(type appfwd_var_t) (type appfwdx_packet_t) (type my_appfwd_packet_t)"
    assert query(build(tmp_path, other)).packet_rights == {}
