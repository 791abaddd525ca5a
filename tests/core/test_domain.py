"""Names of domains: what may be one, what the policy says of it, what is ours."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.audience import NamedByContent
from appfwd.core.cil import render_node
from appfwd.errors import InvalidDomain, UnknownDomain
from appfwd.model.domain import is_packet_type, known_domain, parse_domain
from appfwd.model.policy import Rights
from tests.core.samples import make_policy
from tests.core.test_cil import HOSTILE

POLICY = replace(
    make_policy(domains=frozenset({"mozilla_t", "user_t"})),
    aliases={"old_mozilla_t": "mozilla_t"},
)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_could_break_out_of_policy_is_no_domain(name: str) -> None:
    with pytest.raises(InvalidDomain) as caught:
        parse_domain(name)
    assert str(caught.value).isprintable()


@given(st.text(max_size=140))
def test_what_is_taken_is_an_atom_of_cil(text: str) -> None:
    try:
        name = parse_domain(text)
    except InvalidDomain as error:
        name, shown = text, str(error)
    else:
        shown = render_node(name)
        assert shown == text
    assert shown.isprintable()
    assert name == text


@pytest.mark.parametrize("length", [129, 1 << 20])
def test_a_huge_name_is_refused_by_its_length(length: int) -> None:
    with pytest.raises(InvalidDomain, match=f"of {length} characters"):
        parse_domain("a" * length)


def test_an_alias_means_its_type() -> None:
    assert known_domain("old_mozilla_t", POLICY) == "mozilla_t"
    assert known_domain("user_t", POLICY) == "user_t"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mozila_t", "Near names: mozilla_t."),
        ("zzz", "'ps -eZ' shows the domains"),
        ("domain", "is an attribute"),
        ("unlabeled_t", "of no process"),
    ],
)
def test_what_is_no_domain_is_refused_with_the_reason(name: str, message: str) -> None:
    with pytest.raises(UnknownDomain, match=message):
        known_domain(name, POLICY)


_NAMES = st.frozensets(st.from_regex(r"[a-z_][a-z0-9_.-]{0,70}", fullmatch=True), max_size=3)


@given(_NAMES, _NAMES)
def test_every_type_that_we_name_is_known_as_ours(
    send: frozenset[str], recv: frozenset[str]
) -> None:
    assert is_packet_type(NamedByContent().type_for(Rights(send, recv)))


@pytest.mark.parametrize("name", ["appfwd_t", "appfwd_exec_t", "http_client_packet_t", "appfwd"])
def test_other_types_are_not(name: str) -> None:
    assert not is_packet_type(name)
