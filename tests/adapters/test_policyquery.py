"""The query of the loaded policy as a process of its own, on policies that secilc made."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from appfwd.adapters.policyquery import PolicyQuery
from appfwd.core.module import BRIDGE_ATTRIBUTE
from appfwd.errors import PolicyUnsupported, SelinuxDisabled
from appfwd.model.policy import LoadedPolicy, Rights

BASE = Path(__file__).parents[1] / "core/base.cil"


def _read(path: Path) -> LoadedPolicy:
    return asyncio.run(PolicyQuery("unlabeled_t", BRIDGE_ATTRIBUTE, str(path)).read())


def test_it_answers_from_a_real_policy(tmp_path: Path) -> None:
    command = ["secilc", "-o", f"{tmp_path}/policy", "-f", f"{tmp_path}/contexts", str(BASE)]
    subprocess.run(command, check=True)
    policy = _read(tmp_path / "policy")
    assert {"a_t", "b_t", "c_t"} <= policy.domains
    assert policy.unlabeled == Rights(frozenset({"kernel_t", "c_t"}), frozenset({"c_t"}))
    assert not policy.bridge


def test_where_there_is_no_policy_selinux_is_off(tmp_path: Path) -> None:
    with pytest.raises(SelinuxDisabled, match="is SELinux on"):
        _read(tmp_path / "policy")


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, b"\x8c\xff\x7c\xf9 not a policy"])
def test_what_is_no_policy_is_not_supported(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "policy").write_bytes(data)
    with pytest.raises(PolicyUnsupported, match="cannot be read"):
        _read(tmp_path / "policy")
