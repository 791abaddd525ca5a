"""The query of the loaded policy as a process of its own, on policies that secilc made."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from appfwd.adapters import policyprogram
from appfwd.adapters.policyquery import Names, PolicyQuery
from appfwd.core.module import BRIDGE_ATTRIBUTE, FENCED_ATTRIBUTE
from appfwd.errors import PolicyUnsupported, SelinuxDisabled
from appfwd.model.policy import LoadedPolicy, PacketRule, PortContext, Rights
from appfwd.model.services import Interval

BASE = Path(__file__).parents[1] / "core/base.cil"
LOADER = "appfwd_t"
#: The base's own word on packet_type, which would open every label to every domain.
OPEN = "(allow domain packet_type (packet (send recv)))"
TYPES = "(typeattributeset packet_type (packet_t))"

#: Packet types of a policy, and who may use them: by name and by attribute, always and at times.
LABELS = """
(type web_client_packet_t)(type web_server_packet_t)(type icmp_packet_t)(type spare_packet_t)
(type appfwd_nobody_packet_t)
(typeattribute client_packet_type)
(typeattributeset client_packet_type (web_client_packet_t))
(typeattributeset packet_type (web_client_packet_t web_server_packet_t icmp_packet_t))
(typeattributeset packet_type (appfwd_nobody_packet_t unlabeled_t))
(typeattribute clients)
(typeattributeset clients (a_t b_t))

(allow clients client_packet_type (packet (send recv)))
(allow c_t packet_type (packet (recv)))
(allow kernel_t icmp_packet_t (packet (send)))
(allow c_t spare_packet_t (packet (send)))
(booleanif on
    (true (allow a_t web_server_packet_t (packet (send recv))))
    (false (allow b_t web_server_packet_t (packet (send recv)))))
(booleanif off
    (true (allow a_t icmp_packet_t (packet (send))))
    (false (allow clients icmp_packet_t (packet (recv)))))
"""


def _compiled(folder: Path, *texts: str) -> Path:
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.cil")
        paths[-1].write_text(text, "ascii")
    command = ["secilc", "-o", f"{folder}/policy", "-f", f"{folder}/contexts", *map(str, paths)]
    subprocess.run(command, check=True)
    return folder / "policy"


def _base(*without: str) -> str:
    """Return the base policy less some of its statements."""
    text = BASE.read_text("ascii")
    for statement in without:
        assert statement in text
        text = text.replace(statement, "")
    return text


def _names(loader: str) -> Names:
    return Names("unlabeled_t", BRIDGE_ATTRIBUTE, FENCED_ATTRIBUTE, loader)


def _read(path: Path, loader: str = LOADER, cache: Path | None = None) -> LoadedPolicy:
    query = PolicyQuery(_names(loader), str(path), cache)
    return asyncio.run(query.read())


def _rules(path: Path, domain: str) -> Sequence[PacketRule]:
    query = PolicyQuery(_names(LOADER), str(path))
    return asyncio.run(query.rules(domain))


def _who(send: str = "", recv: str = "") -> Rights:
    """Return rights of domains that are named by letters: ``abk`` is a_t, b_t and kernel_t."""
    names = {"a": "a_t", "b": "b_t", "c": "c_t", "k": "kernel_t"}
    return Rights(frozenset(names[x] for x in send), frozenset(names[x] for x in recv))


def test_it_answers_from_a_real_policy(tmp_path: Path) -> None:
    policy = _read(_compiled(tmp_path, _base()))
    assert {"a_t", "b_t", "c_t"} <= policy.domains
    assert policy.unlabeled == Rights(frozenset({"kernel_t", "c_t"}), frozenset({"c_t"}))
    assert not policy.bridge
    assert policy.aliases == {"old_a_t": "a_t"}
    assert policy.labels == {"packet_t": Rights.both(policy.domains)}
    assert policy.relabel == frozenset()
    assert policy.ports == ()


def test_where_there_is_no_policy_selinux_is_off(tmp_path: Path) -> None:
    with pytest.raises(SelinuxDisabled, match="is SELinux on"):
        _read(tmp_path / "policy")
    with pytest.raises(SelinuxDisabled, match="is SELinux on"):
        _rules(tmp_path / "policy", "a_t")


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, b"\x8c\xff\x7c\xf9 not a policy"])
def test_what_is_no_policy_is_not_supported(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "policy").write_bytes(data)
    with pytest.raises(PolicyUnsupported, match="cannot be read"):
        _read(tmp_path / "policy")
    with pytest.raises(PolicyUnsupported, match="cannot be read"):
        _rules(tmp_path / "policy", "a_t")


def test_labels_are_open_to_those_for_whom_a_rule_holds_now(tmp_path: Path) -> None:
    policy = _read(_compiled(tmp_path, _base(OPEN, TYPES), LABELS))
    assert policy.labels == {
        "web_client_packet_t": _who("ab", "abc"),
        "web_server_packet_t": _who("a", "ac"),
        "icmp_packet_t": _who("k", "abc"),
    }
    # Ours may have strayed into the attribute: they count by every rule, and are no labels.
    assert policy.packet_rights == {"appfwd_nobody_packet_t": _who(recv="c")}
    assert policy.unlabeled == _who("kc", "c")


def test_labels_follow_the_booleans(tmp_path: Path) -> None:
    base = _base(OPEN, TYPES, "(boolean on true)", "(boolean off false)")
    policy = _read(_compiled(tmp_path, base, LABELS, "(boolean on false)(boolean off true)"))
    assert policy.labels == {
        "web_client_packet_t": _who("ab", "abc"),
        "web_server_packet_t": _who("b", "bc"),
        "icmp_packet_t": _who("ka", "c"),
    }


def test_the_bridge_opens_no_label(tmp_path: Path) -> None:
    bridge = f"""
    (typeattribute {BRIDGE_ATTRIBUTE})(typeattributeset {BRIDGE_ATTRIBUTE} (domain))
    (allow {BRIDGE_ATTRIBUTE} unlabeled_t (packet (send recv)))
    """
    policy = _read(_compiled(tmp_path, _base(OPEN, TYPES), LABELS, bridge))
    assert policy.bridge
    assert policy.unlabeled == _who("kc", "c")
    assert policy.labels["icmp_packet_t"] == _who("k", "abc")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("(allow appfwd_t web_client_packet_t (packet (relabelto)))", {"web_client_packet_t"}),
        ("(allow appfwd_t client_packet_type (packet (relabelto)))", {"web_client_packet_t"}),
        ("(allow a_t packet_type (packet (relabelto)))", set()),
        ("(allow appfwd_t packet_type (packet (relabelfrom)))", set()),
        (
            """(typeattribute loaders)(typeattributeset loaders (appfwd_t a_t))
            (allow loaders packet_type (packet (relabelto)))""",
            {"web_client_packet_t", "web_server_packet_t", "icmp_packet_t"},
        ),
        (
            """(booleanif off (true (allow appfwd_t web_client_packet_t (packet (relabelto))))
            (false (allow appfwd_t icmp_packet_t (packet (relabelto)))))""",
            {"icmp_packet_t"},
        ),
    ],
)
def test_the_loader_labels_where_a_rule_holds_now(
    tmp_path: Path, rule: str, expected: set[str]
) -> None:
    policy = _read(_compiled(tmp_path, _base(OPEN, TYPES), LABELS, rule))
    assert policy.relabel == expected


def test_without_the_attribute_names_tell(tmp_path: Path) -> None:
    """Those that rules of packets are about; others of that name may be anything."""
    text = """
    (type web_packet_t)(type odd_packet_t)(type never_packet_t)(type appfwd_nobody_packet_t)
    (typeattribute webs)(typeattributeset webs (web_packet_t file_t))
    (allow a_t webs (packet (send recv)))
    (allow a_t appfwd_nobody_packet_t (packet (send)))
    (allow a_t never_packet_t (process (transition)))
    (booleanif off (true (allow appfwd_t odd_packet_t (packet (send relabelto)))))
    """
    policy = _read(_compiled(tmp_path, _base(OPEN, TYPES, "(typeattribute packet_type)"), text))
    assert policy.labels == {"web_packet_t": _who("a", "a"), "odd_packet_t": _who()}
    assert policy.relabel == frozenset()


def test_a_policy_may_have_no_packet_types(tmp_path: Path) -> None:
    policy = _read(_compiled(tmp_path, _base(OPEN, TYPES, "(typeattribute packet_type)")))
    assert (policy.labels, policy.relabel, policy.ports) == ({}, frozenset(), ())
    assert policy.unlabeled == _who("kc", "c")


def test_a_policy_may_know_nothing_of_packets(tmp_path: Path) -> None:
    text = """
    (class process (transition))(classorder (process))(sid kernel)(sidorder (kernel))
    (sensitivity s0)(sensitivityorder (s0))(level low (s0))(levelrange low_low (low low))
    (user u)(userlevel u low)(userrange u low_low)(role r)(userrole u r)
    (type a_t)(roletype r a_t)(sidcontext kernel (u r a_t low_low))
    (allow a_t self (process (transition)))
    """
    binary = _compiled(tmp_path, text)
    assert _read(binary) == LoadedPolicy(frozenset(), types=frozenset({"a_t"}))
    assert _rules(binary, "a_t") == ()


PORTS = """
(type a_port_t)(type b_port_t)(type c_port_t)
(context a_port (system_u object_r a_port_t low_low))
(context b_port (system_u object_r b_port_t low_low))
(context c_port (system_u object_r c_port_t low_low))
(roletype object_r a_port_t)(roletype object_r b_port_t)(roletype object_r c_port_t)
(portcon tcp (0 1023) c_port)
(portcon udp (1024 65535) c_port)
(portcon tcp (80 90) b_port)
(portcon tcp (85 95) c_port)
(portcon tcp 85 a_port)
(portcon tcp 0 a_port)
(portcon udp 85 b_port)
(portcon dccp 85 c_port)
(portcon sctp 85 a_port)
"""


def _port(protocol: int, first: int, last: int, letter: str) -> PortContext:
    return PortContext(protocol, Interval(first, last), f"{letter}_port_t")


def test_ports_are_in_the_order_of_the_policy(tmp_path: Path) -> None:
    """The compiler of CIL puts what is particular first."""
    ports = _read(_compiled(tmp_path, _base(), PORTS)).ports
    at_85 = {_port(6, 85, 85, "a"), _port(17, 85, 85, "b"), _port(33, 85, 85, "c")}
    assert ports[0] == _port(6, 0, 0, "a")
    assert set(ports[1:5]) == at_85 | {_port(132, 85, 85, "a")}
    assert ports[5:] == (
        _port(6, 80, 90, "b"),
        _port(6, 85, 95, "c"),
        _port(6, 0, 1023, "c"),
        _port(17, 1024, 65535, "c"),
    )


def test_ports_are_not_put_in_order(tmp_path: Path) -> None:
    """Other tools put a range first (semanage port: before all others), and then it counts."""
    binary = _compiled(tmp_path, _base(), PORTS)
    particular, general = (struct.pack("<3I", 6, *ports) for ports in ((85, 85), (0, 1023)))
    before = binary.read_bytes()
    assert before.count(particular) == before.count(general) == 1
    parts = before.replace(general, b"?" * 12).replace(particular, general)
    binary.write_bytes(parts.replace(b"?" * 12, particular))
    ports = [port for port in _read(binary).ports if port.protocol == 6]
    assert ports == [
        _port(6, 0, 0, "a"),
        _port(6, 0, 1023, "a"),
        _port(6, 80, 90, "b"),
        _port(6, 85, 95, "c"),
        _port(6, 85, 85, "c"),
    ]


RULES = """
(typeattribute clients)
(typeattributeset clients (a_t b_t))
(boolean also true)
(allow clients packet_type (packet (relabelto)))
(allow a_t packet_t (packet (recv send)))
(allow a_t file_t (process (transition)))
(allow b_t packet_t (packet (send)))
(auditallow a_t packet_t (packet (flow_in)))
(booleanif on (true (allow a_t packet_t (packet (flow_in)))))
(booleanif off
    (true (allow a_t packet_t (packet (flow_out))))
    (false (allow clients file_t (packet (send)))))
(booleanif (and on (or off also))
    (true (allow a_t file_t (packet (recv))))
    (false (allow a_t unlabeled_t (packet (recv)))))
(booleanif (and (not off) also) (true (allow a_t file_t (packet (flow_out)))))
"""


def test_rules_of_a_domain_have_their_conditions(tmp_path: Path) -> None:
    binary = _compiled(tmp_path, _base(OPEN), RULES)
    expected = (
        PacketRule("a_t", "file_t", ("flow_out",), "!off && also", holds=True),
        PacketRule("a_t", "file_t", ("recv",), "on && (off || also)", holds=True),
        PacketRule("a_t", "packet_t", ("flow_in",), "on", holds=True),
        PacketRule("a_t", "packet_t", ("flow_out",), "off", holds=False),
        PacketRule("a_t", "packet_t", ("recv", "send"), "", holds=True),
        PacketRule("a_t", "unlabeled_t", ("recv",), "!(on && (off || also))", holds=False),
        PacketRule("clients", "file_t", ("send",), "!off", holds=True),
        PacketRule("clients", "packet_type", ("relabelto",), "", holds=True),
    )
    assert _rules(binary, "a_t") == expected
    assert _rules(binary, "old_a_t") == expected
    assert _rules(binary, "gone_t") == ()


def test_an_answer_is_kept_for_its_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = "(allow a_t packet_type (packet (relabelto)))"
    binary, cache = _compiled(tmp_path, _base(OPEN), rule, PORTS), tmp_path / "answer"
    fresh = _read(binary, cache=cache)
    assert _read(binary, "a_t", cache).relabel == {"packet_t"} != fresh.relabel
    assert _read(binary, cache=cache) == fresh
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert _read(binary, cache=cache) == fresh
    with pytest.raises(PolicyUnsupported):
        _read(binary, "a_t", cache)


def test_an_answer_has_each_set_once(tmp_path: Path) -> None:
    binary = _compiled(tmp_path, _base(OPEN, TYPES), LABELS)
    answer = policyprogram.query(
        "unlabeled_t", BRIDGE_ATTRIBUTE, FENCED_ATTRIBUTE, LOADER, str(binary)
    )
    sets = [frozenset(answer["types"][n] for n in numbers) for numbers in answer["sets"]]
    expected = ("", "a", "ab", "abc", "ac", "c", "k", "kc")
    assert len(sets) == len(set(sets))
    assert set(sets) == {sets[answer["domains"]], *(_who(letters).send for letters in expected)}


def imported(words: str, *, path: Path | None = None) -> str:
    """Return what a fresh interpreter says after it imported the library."""
    code = f"import sys; from appfwd.adapters import policyprogram as p; s = p._setools(); {words}"
    paths = [str(one) for one in (path, Path(policyprogram.__file__).parents[2]) if one]
    environment = {**os.environ, "PYTHONPATH": ":".join(paths)}
    argv = [sys.executable, "-c", code]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout


def test_only_the_reader_of_the_library_is_imported() -> None:
    assert (
        imported("print(s.__name__, 'setools.dta' in sys.modules)") == "setools.policyrep False\n"
    )


@pytest.mark.parametrize("reader", [None, "from setools import whole\n"])
def test_a_library_whose_reader_needs_the_rest_is_imported_whole(
    tmp_path: Path, reader: str | None
) -> None:
    (tmp_path / "setools").mkdir()
    package = "whole = True\nclass PortconRange: MIN = 1\n"
    (tmp_path / "setools/__init__.py").write_text(package)
    if reader is not None:
        (tmp_path / "setools/policyrep.py").write_text(reader)
    assert imported("print(s.whole, s.PortconRange.MIN)", path=tmp_path) == "True 0\n"
