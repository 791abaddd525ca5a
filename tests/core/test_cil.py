"""CIL: rendered from structures, read back, and no atom that gets out of its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core import cil
from appfwd.core.avc import FIRST_TYPES
from appfwd.core.module import Module, module_text
from appfwd.model.policy import KernelContexts, Rights
from tests.core.cilreader import CilError, load, read
from tests.core.samples import CONTEXTS, DOMAINS, UNLABELED, make_policy

_ATOMS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True).filter(str.isascii)
_NODES: st.SearchStrategy[cil.Node] = st.recursive(
    _ATOMS, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=12
)

HOSTILE = [
    "",
    " ",
    "a_t)",
    "a_t) (allow a_t b_t (packet (send)))",
    "(a_t",
    "a_t ",
    " a_t",
    "a_t\n",
    "a\nb",
    "a_t;",
    '"a_t"',
    "a\x00t",
    "1a",
    "-a",
    ".a",
    "é_t",
    "a_t\u2028",
    "a٣",
    "a/b",
    "a|b",
    "a*",
]


@given(st.lists(_NODES.filter(lambda node: isinstance(node, tuple)), max_size=5))
def test_what_is_rendered_reads_back(nodes: list[cil.Node]) -> None:
    text = cil.render(nodes)
    assert read(text) == tuple(nodes)
    assert len(text.splitlines()) == len(nodes)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_atom_is_refused(name: str) -> None:
    for place in (name, ("allow", name), ("a", ("b", name))):
        with pytest.raises(ValueError, match="not a CIL identifier"):
            cil.render_node(place)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("where", ["send", "recv", "type", "role", "kernel", "loader", "unlabeled"])
def test_a_hostile_name_anywhere_in_a_module_is_refused(name: str, where: str) -> None:
    text = "appfwd_x_packet_t"
    rights = Rights(frozenset({name}) if where == "send" else frozenset(), frozenset())
    if where == "recv":
        rights = Rights(recv=frozenset({name}))
    names = {"role": "object_r", "kernel": "k_t", "loader": "l_t", "unlabeled": "u_t"}
    names |= {where: name} if where in names else {}
    contexts = KernelContexts("u", level=None, **names)
    module = Module({name if where == "type" else text: rights}, bridge=True)
    with pytest.raises(ValueError, match="not a CIL identifier"):
        module_text(module, contexts)


@given(st.text(min_size=1, max_size=30))
def test_a_domain_of_any_name_adds_one_block_or_is_refused(name: str) -> None:
    """However the name is made, the module has the statements of a plain name and no more."""
    plain = read(module_text(Module({"t": Rights.both(frozenset({"a_t"}))}), CONTEXTS))
    try:
        text = module_text(Module({"t": Rights.both(frozenset({name}))}), CONTEXTS)
    except ValueError:
        return
    assert len(read(text)) == len(plain)
    (block,) = [node for node in read(text) if node[0] == "optional"]
    assert block[2:] == (("allow", name, "t", ("packet", ("recv", "send"))),)


_RIGHTS = st.builds(
    Rights, st.frozensets(st.sampled_from(DOMAINS)), st.frozensets(st.sampled_from(DOMAINS))
)


@given(st.dictionaries(st.sampled_from(["p_t", "q_t", "r_t"]), _RIGHTS), st.booleans())
def test_a_module_gives_its_types_their_users_and_the_kernel_its_needs(
    types: dict[str, Rights],
    bridge: bool,  # noqa: FBT001 - drawn
) -> None:
    policy = make_policy(Rights.both(frozenset({"c_t"})))
    loaded = load(module_text(Module(types, bridge), CONTEXTS), policy, UNLABELED)
    assert loaded.declared == {*types, *FIRST_TYPES}
    for name, rights in types.items():
        assert loaded.rights(name) == rights | Rights(send=frozenset({"kernel_t"}))
        assert loaded.permissions("appfwd_t", name) == {"relabelto"}
    unlabelled = loaded.rights(UNLABELED)
    assert unlabelled == Rights.both(policy.domains if bridge else frozenset({"c_t"}))


def test_a_fence_holds_for_first_packets_whoever_lets_the_domain_use_them() -> None:
    """Their types stand for no audience, so nobody's rule on them is a grant."""
    module = Module(bridge=True, observed=True, fenced=frozenset({"a_t"}))
    others = "".join(f"(allow a_t {name} (packet (recv send)))" for name in FIRST_TYPES)
    loaded = load(module_text(module, CONTEXTS) + others, make_policy(), UNLABELED)
    for name in FIRST_TYPES:
        assert loaded.permissions("a_t", name) == frozenset()
        assert loaded.permissions("b_t", name) == {"send", "recv"}


def test_a_domain_that_policy_lost_takes_only_its_own_block() -> None:
    types = {"p_t": Rights.both(frozenset({"a_t", "gone_t"}))}
    loaded = load(module_text(Module(types), CONTEXTS), make_policy(), UNLABELED)
    assert loaded.rights("p_t").recv == {"a_t"}


def test_domains_whose_names_look_alike_have_blocks_of_their_own() -> None:
    """Two optional blocks of one name would be refused by the policy compiler."""
    names = ("a.b_t", "a-b_t", "a-_b_t", "a--b_t", "a_b_t", "a.-b_t", "a-.b_t")
    module = Module({"p_t": Rights.both(frozenset(names))})
    blocks = [node[1] for node in read(module_text(module, CONTEXTS)) if node[0] == "optional"]
    assert len(set(blocks)) == len(names)
    assert not any("." in str(block) for block in blocks)


@pytest.mark.parametrize("text", ["(", ")", "(a))", '(a "b")', "(a ; b)", "(1)", "(a\tb)"])
def test_the_reader_itself_refuses(text: str) -> None:
    with pytest.raises(CilError):
        read(text)
