"""Our module through the real policy compiler, and the query of the loaded policy on its result.

Needs secilc (Debian package secilc) and setools of the system (python3-setools).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

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
    is_current,
    loaded_module,
    module_text,
)
from appfwd.core.verify import verify_module
from appfwd.errors import NotExclusive
from appfwd.model.policy import LoadedPolicy, Rights
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
