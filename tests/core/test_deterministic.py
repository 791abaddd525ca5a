"""Artefacts depend on the state alone: no order of input, no hash seed, no history."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.audience import NamedByContent
from appfwd.core.compiler import compile_state
from appfwd.core.module import module_text
from appfwd.core.nft import table_commands
from appfwd.core.table import Table
from appfwd.model.changes import add_grant, add_guard
from appfwd.model.policy import Rights
from appfwd.model.state import Bridge, DesiredState, Grant, Guard
from tests.core.kernelmodel import KernelModel
from tests.core.samples import CONTEXTS, DOMAINS, destinations, make_policy, states
from tests.core.stories import state_of


def artefacts_text(state: DesiredState) -> str:
    """Return every byte that the kernel would get for ``state``."""
    artefacts = compile_state(state, KernelModel(make_policy()).machine())
    commands = table_commands(Table(), artefacts.table)
    return module_text(artefacts.module, CONTEXTS) + repr(commands) + repr(artefacts.spare)


@given(
    st.lists(destinations().map(Guard), max_size=5, unique=True),
    st.lists(st.builds(Grant, st.sampled_from(DOMAINS), destinations()), max_size=5, unique=True),
    st.randoms(use_true_random=False),
)
def test_the_order_of_changes_does_not_show(
    guards: list[Guard],
    grants: list[Grant],
    random: st.random_module,  # type: ignore[valid-type]
) -> None:
    first = second = DesiredState()
    changes = [*map(add_guard, guards), *map(add_grant, grants)]
    for change in changes:
        first = change(first)
    random.shuffle(changes)  # type: ignore[attr-defined]
    for change in [*changes, *changes]:
        second = change(second)
    assert first == second
    assert artefacts_text(first) == artefacts_text(second)


@given(states())
def test_compiling_twice_gives_equal_artefacts(state: DesiredState) -> None:
    machine = KernelModel(make_policy()).machine()
    assert compile_state(state, machine) == compile_state(state, machine)


def digest_of_many() -> str:
    """Return a digest of the artefacts of a state with many domains, destinations and sets."""
    grants = tuple(
        (domain, f"{where}:{port}/tcp")
        for domain in (*DOMAINS, "gone_t")
        for where in ("10.0.0.0/24", "10.0.0.7", "[2001:db8::/64]", "any")
        for port in (80, 443, "1000-2000")
    )
    texts = [
        artefacts_text(state_of("10.0.0.0/16", "in any:22", grants=grants, bridge=bridge))
        for bridge in Bridge
    ]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def test_the_hash_seed_does_not_show() -> None:
    """Python orders sets of text by a seed; two processes with unlike seeds agree."""
    program = "from tests.core.test_deterministic import digest_of_many as d; print(d())"
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.add(run.stdout.strip())
    assert found == {digest_of_many()}


_NAMES = st.sampled_from(
    ["a_t", "b_t", "a_t.b", "a", "_t", "nobody", "only_a_t", "x" * 64, "x" * 65, "a-t", "t-a"]
)
_RIGHTS = st.builds(Rights, st.frozensets(_NAMES, max_size=3), st.frozensets(_NAMES, max_size=3))


@given(_RIGHTS, _RIGHTS)
def test_unlike_rights_have_unlike_types(one: Rights, other: Rights) -> None:
    names = NamedByContent()
    assert (names.type_for(one) == names.type_for(other)) is (one == other)


def test_unlike_rights_that_look_alike_have_unlike_types() -> None:
    sets = [frozenset(some) for n in range(4) for some in combinations(DOMAINS, n)]
    everything = [Rights(send, recv) for send in sets for recv in sets]
    everything += [Rights.both(frozenset({name})) for name in ("a_t.b_t", "a_t-b_t", "nobody")]
    assert len({NamedByContent().type_for(rights) for rights in everything}) == len(everything)


@given(_RIGHTS)
def test_a_types_name_fits_everywhere_it_goes(rights: Rights) -> None:
    """As a CIL identifier without namespace, and within the context's 256 bytes of nf_tables."""
    name = NamedByContent().type_for(rights)
    assert "." not in name
    assert len(CONTEXTS.packet_context(name)) < 256
    assert name.startswith("appfwd_")
