"""The baseline: beside what refpolicy's own generator says of the same policy, and in force."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from .firewall import SECONDS, Firewall
from .gennetfilter import (
    DIRECTIONS,
    PROTOCOLS,
    Generated,
    Labels,
    generate,
    labels_of,
    parse_iptables,
    parse_nft,
)
from .lab.guest import Guest
from .test_changes import until

OURS, PEER = ("10.9.0.1", "fd09::1"), ("10.9.0.5", "fd09::5")
#: Of no port type of its own in Debian's policy.
PORT = 4711
NUMBERS = dict(zip(PROTOCOLS, (6, 17, 1, 58, 132, 33, 47), strict=True))
#: (direction, protocol, first port, last port, ours, the generator's): why they differ.
KNOWN: Mapping[tuple[str, str, int, int, str | None, str | None], str] = {}


@pytest.fixture(scope="module")
def generated(firewall: Firewall) -> Generated:
    """Return what the generator wrote in the guest."""
    return generate(firewall.guest)


@pytest.fixture(scope="module")
def shown(firewall: Firewall) -> dict[str, Any]:
    """Return what `baseline show` says."""
    answer: dict[str, Any] = firewall.json("baseline", "show")
    return answer


def test_the_generators_two_outputs_agree(generated: Generated) -> None:
    rules = parse_iptables(generated.iptables)
    assert len(rules) > 900
    assert labels_of(rules) == labels_of(parse_nft(generated.nft))


def test_every_port_has_the_generators_label(generated: Generated, shown: dict[str, Any]) -> None:
    ours = _labels(shown["rows"])
    theirs = labels_of(parse_iptables(generated.iptables))
    assert set(_differences(ours, theirs)) == set(KNOWN)


def test_no_port_is_told_twice(shown: dict[str, Any]) -> None:
    assert len(shown["rows"]) == shown["total"]
    for key, rows in _by_line(shown["rows"]).items():
        told = sum(len(_span(row["ports"])) for row in rows)
        assert told == 65536, key


def test_what_has_a_port_type_of_its_own_is_no_default(shown: dict[str, Any]) -> None:
    rows = shown["rows"]
    assert {row["packet_type"] for row in rows if row["default"]} == {
        "client_packet_t",
        "server_packet_t",
        "icmp_packet_t",
    }
    for row in rows:
        assert row["default"] == (row["port_type"] == "")
        word = "client" if row["direction"] == "out" else "server"
        if not row["default"]:
            own = row["port_type"].removesuffix("_port_t")
            assert row["packet_type"] == f"{own}_{word}_packet_t"


@pytest.mark.usefixtures("guest")
def test_on_and_off_again_the_table_is_as_before(firewall: Firewall) -> None:
    _set(firewall, on=False)
    firewall.guard(PEER[0])
    firewall.grant("mozilla_t", PEER[0])
    before = firewall.table()
    assert firewall.ctl("baseline", "on").out == "the baseline is on\n"
    assert "map @out_tcp" in firewall.table()
    assert firewall.ctl("baseline", "off").out == "the baseline is off\n"
    assert firewall.table() == before


@pytest.mark.usefixtures("on")
def test_the_kernels_maps_hold_what_is_shown(firewall: Firewall, guest: Guest) -> None:
    listed = json.loads(guest.run("nft -n -j list table inet appfwd", check=True).out)["nftables"]
    maps = {one["map"]["name"]: one["map"]["elem"] for one in listed if "map" in one}
    assert {"out_proto", "out_tcp", "in_proto", "in_tcp"} <= maps.keys()
    assert {f"{d}_{p}_exact" for d in DIRECTIONS for p in ("tcp", "udp")} <= maps.keys()
    # An unused map would hold them just as well.
    rules = json.dumps([one for one in listed if "rule" in one])
    assert [name for name in maps if f'"@{name}"' not in rules] == []
    assert _labels_of_maps(maps) == _labels(firewall.json("baseline", "show")["rows"])


@pytest.mark.usefixtures("on")
def test_who_may_not_use_the_label_of_a_port_does_not_reach_it(guest: Guest) -> None:
    for address in PEER:
        server = guest.probe.serve((address, 80), netns="peer")
        assert guest.probe.reach("mozilla_t", server.address) == "ok"
        mark = guest.mark()
        assert guest.probe.reach("postgresql_t", server.address) == "ECONNREFUSED"
        assert _denied(guest, mark) == {("postgresql_t", "send", "http_client_packet_t")}
        server.close()


@pytest.mark.usefixtures("on")
def test_who_may_not_use_the_label_of_our_port_does_not_serve_it(guest: Guest) -> None:
    for address in OURS:
        assert _served(guest, "squid_t", address) == "ok"
        mark = guest.mark()
        assert _served(guest, "postgresql_t", address) == "TIMEOUT"
        assert _denied(guest, mark) == {("postgresql_t", "recv", "http_server_packet_t")}


@pytest.mark.usefixtures("on")
def test_semanage_changes_the_label_of_a_port_without_our_doing(guest: Guest) -> None:
    target = (PEER[0], PORT)
    guest.probe.serve(target, netns="peer")
    mark = guest.mark()
    assert guest.probe.reach("mozilla_t", target) == "ECONNREFUSED"
    assert _denied(guest, mark) == {("mozilla_t", "send", "client_packet_t")}
    guest.run(f"semanage port -a -t http_port_t -p tcp {PORT}", check=True, timeout=SECONDS)
    until(lambda: guest.probe.reach("mozilla_t", target) == "ok")
    assert guest.probe.reach("postgresql_t", target) == "ECONNREFUSED"


@pytest.fixture
def on(firewall: Firewall, shown: dict[str, Any]) -> None:
    """Turn the baseline on; what is shown has been asked before anything changes."""
    assert shown
    _set(firewall, on=True)


def _set(firewall: Firewall, *, on: bool) -> None:
    firewall.call("SetBaseline", "ba{sv}", str(on).lower(), "0")


def _served(guest: Guest, domain: str, address: str) -> str:
    """Return what becomes of a connection from `peer` to a server of a domain on port 80."""
    server = guest.probe.serve((address, 80), domain=domain)
    outcome = guest.probe.reach("", server.address, netns="peer", seconds=2)
    server.close()
    return outcome


def _denied(guest: Guest, mark: int) -> set[tuple[str, str, str]]:
    """Return the denials of packets since a mark: domain, permission and label."""
    return {
        (avc.source, permission, avc.target)
        for avc in guest.wait_avcs(mark)
        if avc.tclass == "packet"
        for permission in avc.permissions
    }


def _labels_of_maps(maps: Mapping[str, list[Any]]) -> Labels:
    """Return what the maps say of every port, that of protocols first and then that of ports."""
    labels: Labels = {}
    for direction in DIRECTIONS:
        for protocol in PROTOCOLS:
            line: list[str | None] = [None] * 65536
            for key, label in maps[f"{direction}_proto"]:
                if NUMBERS[protocol] in _interval(key):
                    line = [label] * 65536
            for name in (f"{direction}_{protocol}", f"{direction}_{protocol}_exact"):
                for key, label in maps.get(name, []):
                    ports = _interval(key)
                    line[ports.start : ports.stop] = [label] * len(ports)
            labels[direction, protocol] = line
    return labels


def _interval(key: Any) -> range:
    first, last = key["range"] if isinstance(key, dict) else (key, key)
    return range(int(first), int(last) + 1)


def _by_line(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows that concern each direction and protocol."""
    return {
        (direction, protocol): [
            row for row in rows if row["direction"] == direction and _is_of(row, protocol)
        ]
        for direction in DIRECTIONS
        for protocol in PROTOCOLS
    }


def _is_of(row: dict[str, Any], protocol: str) -> bool:
    told = row["protocol"]
    return told in (protocol, "any") or (told[0].isdecimal() and NUMBERS[protocol] in _span(told))


def _labels(rows: list[dict[str, Any]]) -> Labels:
    labels: Labels = {}
    for key, concerned in _by_line(rows).items():
        line = labels.setdefault(key, [None] * 65536)
        for row in concerned:
            ports = _span(row["ports"])
            line[ports.start : ports.stop] = [row["packet_type"]] * len(ports)
    return labels


def _span(text: str) -> range:
    first, *rest = (int(word) for word in text.split("-"))
    return range(first, (rest[0] if rest else first) + 1)


def _differences(
    ours: Labels, theirs: Labels
) -> Iterator[tuple[str, str, int, int, str | None, str | None]]:
    """Yield each run of ports whose two labels differ in the same way."""
    for (direction, protocol), line in ours.items():
        first = 0
        pairs = [*zip(line, theirs[direction, protocol], strict=True), None]
        for port, pair in enumerate(pairs):
            before = pairs[first]
            if pair != before:
                if before is not None and before[0] != before[1]:
                    yield direction, protocol, first, port - 1, *before
                first = port
