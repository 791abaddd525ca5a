"""Records of packets: what the kernel writes is read, and nothing else is."""

from __future__ import annotations

import ipaddress
import random
import re
import string
import time
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.avc import (
    MAX_LENGTH,
    SEEN_TYPES,
    PacketRecord,
    observation_of,
    parse_packet_record,
)
from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Direction, parse_destination

SENT = (
    "audit(1795391386.057:233): avc:  granted  { send } for  pid=406 "
    'comm="curl" saddr=10.9.0.1 src=40000 daddr=10.9.0.5 dest=3128 netif=eth0 '
    "scontext=system_u:system_r:mozilla_t:s0 tcontext=system_u:object_r:appfwd_seen_tcp_t:s0 "
    "tclass=packet"
)
DENIED = (
    "audit(1795391386.057:234): avc:  denied  { recv } for  pid=0 "
    'comm="swapper/0" saddr=2001:db8::7 src=443 daddr=2001:db8::1 dest=40001 netif=eth0 '
    "scontext=system_u:system_r:user_t:s0-s0:c0.c1023 "
    "tcontext=system_u:object_r:unlabeled_t:s0 "
    'tclass=packet permissive=0 trawcon="system_u:object_r:appfwd_gone_packet_t:s0"'
)
HEX = "6120623D22"  # a b="


def host(text: str) -> AddressRange:
    address = ipaddress.ip_address(text)
    return AddressRange(Family(address.version), int(address), int(address))


def seen(text: str) -> str | None:
    """Return what a record tells, as ``domain direction destination``."""
    record = parse_packet_record(text)
    found = None if record is None else observation_of(record)
    if found is None:
        return None
    place = found.destination
    assert parse_destination(str(place), place.direction) == place
    return f"{found.domain} {place.direction.value} {place}"


def test_a_record_of_a_sent_packet() -> None:
    assert parse_packet_record(SENT) == PacketRecord(
        time=1795391386.057,
        serial=233,
        granted=True,
        permission="send",
        domain="mozilla_t",
        label="appfwd_seen_tcp_t",
        local=host("10.9.0.1"),
        local_port=40000,
        remote=host("10.9.0.5"),
        remote_port=3128,
        comm="curl",
    )


def test_a_denial_of_a_received_packet() -> None:
    record = parse_packet_record(DENIED)
    assert record is not None
    assert (record.granted, record.permission, record.comm) == (False, "recv", "swapper/0")
    assert (record.domain, record.label) == ("user_t", "unlabeled_t")
    assert (record.remote, record.remote_port) == (host("2001:db8::7"), 443)
    assert (record.local, record.local_port) == (host("2001:db8::1"), 40001)
    assert observation_of(record) is None


ICMP = SENT.replace(" src=40000", "").replace(" dest=3128", "").replace("_tcp_", "_other_")
IN = SENT.replace("send", "recv")
OBSERVED = {
    SENT: "mozilla_t out 10.9.0.5:3128/tcp",
    SENT.replace("_tcp_", "_udp_"): "mozilla_t out 10.9.0.5:3128/udp",
    SENT.replace("_tcp_", "_sctp_"): "mozilla_t out 10.9.0.5:3128/sctp",
    SENT.replace("_tcp_", "_dccp_"): "mozilla_t out 10.9.0.5:3128/dccp",
    SENT.replace("_tcp_", "_other_"): "mozilla_t out 10.9.0.5",
    IN: "mozilla_t in 10.9.0.1:3128/tcp",
    ICMP: "mozilla_t out 10.9.0.5",
    ICMP.replace("send", "recv"): "mozilla_t in 10.9.0.1",
    SENT.replace("10.9.0.1", "fe80::1").replace(
        "10.9.0.5", "fe80::2"
    ): "mozilla_t out [fe80::2]:3128/tcp",
    # A zero is omitted: a client without an address, and port 0.
    IN.replace(" saddr=10.9.0.1", ""): "mozilla_t in 0.0.0.0:3128/tcp",
    SENT.replace(" dest=3128", ""): "mozilla_t out 10.9.0.5:0/tcp",
    SENT.replace(" src=40000", ""): "mozilla_t out 10.9.0.5:3128/tcp",
    # Fragments, and protocols that the kernel was built without, have no port at all.
    ICMP.replace("_other_", "_sctp_"): "mozilla_t out 10.9.0.5/sctp",
    SENT.replace(" netif=eth0", ""): "mozilla_t out 10.9.0.5:3128/tcp",
    SENT.replace(":s0 ", " "): "mozilla_t out 10.9.0.5:3128/tcp",  # a policy without levels
    SENT.replace('"curl"', HEX): "mozilla_t out 10.9.0.5:3128/tcp",
}


@pytest.mark.parametrize("text", OBSERVED)
def test_what_is_observed(text: str) -> None:
    assert seen(text) == OBSERVED[text]


NOTHING = {
    "a denial": SENT.replace("granted", "denied") + " permissive=0",
    "another label": SENT.replace("appfwd_seen_tcp_t", "unlabeled_t"),
    "a label that only begins so": SENT.replace("seen_tcp_t", "seen_tcp_t2"),
    "no addresses": re.sub(r" (saddr|daddr|src|dest)=\S+", "", SENT),
    "an IPv4-mapped peer": SENT.replace("10.9.0.", "::ffff:10.9.0."),
}


@pytest.mark.parametrize("text", NOTHING.values(), ids=NOTHING)
def test_what_is_a_record_but_no_observation(text: str) -> None:
    assert parse_packet_record(text) is not None
    assert seen(text) is None


REFUSED = {
    "nothing": "",
    "two permissions": SENT.replace("{ send }", "{ recv send }"),
    "no permission": SENT.replace(" { send }", " null"),
    "another permission": SENT.replace("send", "forward_out"),
    "another class": SENT.replace("tclass=packet", "tclass=packet_socket"),
    "something before it": " " + SENT,
    "something after it": SENT + " x=y",
    "a line's end": SENT + "\n",
    "a type's number": "type=1400 " + SENT,
    "a field twice": SENT.replace(" dest=3128", " dest=3128 dest=3129"),
    "fields in another order": SENT.replace(" src=40000 daddr=10.9.0.5", " daddr=10.9.0.5 src=1"),
    "a context without a type": SENT.replace("system_u:system_r:mozilla_t:s0", "mozilla_t"),
    "a context that could not be had": SENT.replace(
        "scontext=system_u:system_r:mozilla_t:s0", "ssid=7"
    ),
    "a type of no grammar": SENT.replace("mozilla_t", "mozilla)t"),
    "a type of letters that are none": SENT.replace("mozilla_t", "mozillä_t"),
    "a type that is too long": SENT.replace("mozilla_t", "m" * 129),
    "a port that is none": SENT.replace("3128", "65536"),
    "a port of other digits": SENT.replace("3128", "٣١٢٨"),
    "a negative port": SENT.replace("3128", "-3128"),
    "an address that is none": SENT.replace("10.9.0.5", "10.9.0.256"),
    "an address with zeros before": SENT.replace("10.9.0.5", "10.9.0.05"),
    "an address of dots": SENT.replace("10.9.0.5", "...."),
    "an address with a zone": SENT.replace("10.9.0.5", "fe80::2%eth0"),
    "two families": SENT.replace("10.9.0.5", "fe80::2"),
    "a name of half a byte": SENT.replace('"curl"', "616"),
    "a name without quotes": SENT.replace('"curl"', "curl"),
    "a name that does not end": SENT.replace('"curl"', '"curl'),
    "another space": SENT.replace(" pid", "\u00a0pid"),
    "a character of no sense": SENT.replace("curl", "c\0rl"),
    "half of it": SENT[: len(SENT) // 2],
    "too much of it": SENT + " trawcon=" + "41" * MAX_LENGTH,
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_no_record(text: str) -> None:
    assert parse_packet_record(text) is None


FORGED = (
    "x scontext=a:b:evil_t:s0",
    'x" scontext=a:b:evil_t:s0 tcontext=a:b:appfwd_seen_tcp_t:s0 tclass=packet',
    'x" saddr=1.1.1.1 src=1 daddr=6.6.6.6 dest=6',
    "x\nscontext=a:b:evil_t:s0",
    "audit(1.000:1): avc:  granted  { send } for  pid=1",
    "scontext=a:b:evil_t:s0",
    "daddr=6.6.6.6",
)


@pytest.mark.parametrize("name", FORGED)
def test_a_programs_name_is_never_taken_for_a_field(name: str) -> None:
    """Neither as the kernel writes it, nor if it forgot to encode it."""
    encoded = parse_packet_record(SENT.replace('"curl"', written(name)))
    assert encoded is not None
    assert encoded.comm == name.replace("\n", "\N{REPLACEMENT CHARACTER}")
    assert replace(encoded, comm="curl") == parse_packet_record(SENT)
    raw = parse_packet_record(SENT.replace("curl", name))
    assert raw is None or raw == replace(encoded, comm=name)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ('""', ""),
        ('"a/b:0"', "a/b:0"),
        (HEX, 'a b="'),
        ("C3A4", "ä"),
        ("FF", "\N{REPLACEMENT CHARACTER}"),
        ("1B5B316D", "\N{REPLACEMENT CHARACTER}[1m"),
        ("E280AE", "\N{REPLACEMENT CHARACTER}"),  # a mark that turns the line around
    ],
)
def test_a_programs_name_is_fit_to_be_shown(written: str, shown: str) -> None:
    record = parse_packet_record(SENT.replace('"curl"', written))
    assert record is not None
    assert record.comm == shown


def test_the_labels_are_those_of_the_protocols_with_ports() -> None:
    assert dict(SEEN_TYPES) == {
        "appfwd_seen_tcp_t": 6,
        "appfwd_seen_udp_t": 17,
        "appfwd_seen_dccp_t": 33,
        "appfwd_seen_sctp_t": 132,
        "appfwd_seen_other_t": None,
    }


def written(text: str) -> str:
    """Write a program's name as the kernel does (audit_log_untrustedstring)."""
    raw = text.encode()
    if any(byte == ord('"') or not 0x21 <= byte <= 0x7E for byte in raw):
        return raw.hex().upper()
    return f'"{text}"'


@dataclass(frozen=True)
class Packet:
    """What the kernel knows when it writes a record."""

    millis: int
    serial: int
    granted: bool
    sent: bool
    domain: str
    label: str
    addresses: tuple[AddressRange, AddressRange]
    ports: tuple[int, int]
    comm: str
    netif: str

    def text(self) -> str:
        """Return the record, field for field as security/lsm_audit.c and avc.c do."""
        fields = [f"pid={self.serial % 99} comm={written(self.comm)}"]
        pairs = zip(("saddr", "daddr"), ("src", "dest"), self.addresses, self.ports, strict=True)
        for address_name, port_name, address, port in pairs:
            if address.first:
                fields.append(f"{address_name}={address}")
            if port:
                fields.append(f"{port_name}={port}")
        if self.netif:
            fields.append(f"netif={self.netif}")
        fields.append(f"scontext=u:r:{self.domain}:s0-s15:c0.c1023")
        fields.append(f"tcontext=system_u:object_r:{self.label}:s0 tclass=packet")
        if not self.granted:
            fields.append("permissive=1")
        verdict = "granted" if self.granted else "denied"
        seconds, millis = divmod(self.millis, 1000)
        return (
            f"audit({seconds}.{millis:03}:{self.serial}): avc:  {verdict}  "
            f"{{ {'send' if self.sent else 'recv'} }} for  {' '.join(fields)}"
        )

    def record(self) -> PacketRecord:
        """Return what is to be read."""
        hosts = self.addresses if any(one.first for one in self.addresses) else (None, None)
        ports = self.ports if any(self.ports) else (None, None)
        here, there = (0, 1) if self.sent else (1, 0)
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in self.comm)
        return PacketRecord(
            time=self.millis // 1000 + self.millis % 1000 / 1000,
            serial=self.serial,
            granted=self.granted,
            permission="send" if self.sent else "recv",
            domain=self.domain,
            label=self.label,
            local=hosts[here],
            local_port=ports[here],
            remote=hosts[there],
            remote_port=ports[there],
            comm=shown,
        )


def _addresses(family: Family) -> st.SearchStrategy[tuple[AddressRange, AddressRange]]:
    one = st.one_of(st.just(0), st.integers(0, family.last), st.integers(0, 0xFFFF_FFFF))
    single = one.map(lambda address: AddressRange(family, address, address))
    return st.tuples(single, single)


_PORT = st.one_of(st.just(0), st.integers(0, 65535))
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}", fullmatch=True)
PACKETS = st.builds(
    Packet,
    millis=st.integers(0, 10**13),
    serial=st.integers(0, 2**32 - 1),
    granted=st.booleans(),
    sent=st.booleans(),
    domain=_NAMES,
    label=st.one_of(st.sampled_from(sorted(SEEN_TYPES)), _NAMES),
    addresses=st.one_of(_addresses(Family.IPV4), _addresses(Family.IPV6)),
    ports=st.tuples(_PORT, _PORT),
    comm=st.text(max_size=15).filter(lambda name: "\0" not in name),
    netif=st.text(st.sampled_from(string.ascii_letters + string.digits + '"=.-@'), max_size=15),
)


@given(packet=PACKETS)
def test_what_the_kernel_writes_is_read(packet: Packet) -> None:
    assert parse_packet_record(packet.text()) == packet.record()


@given(packet=PACKETS)
def test_an_observation_is_one_host_that_a_grant_can_name(packet: Packet) -> None:
    found = observation_of(packet.record())
    if found is None:
        return
    place = found.destination
    assert packet.granted
    assert found.domain == packet.domain
    assert place.peer == packet.addresses[1 if packet.sent else 0]
    assert place.direction is (Direction.OUT if packet.sent else Direction.IN)
    assert place.service.protocol == SEEN_TYPES[packet.label]
    if place.service.ports is not None:
        assert place.service.ports == (packet.ports[1],) * 2
    assert parse_destination(str(place), place.direction) == place


def _believed(text: str) -> bool:
    """Hold a damaged record against what must be true of it; tell whether it still is one."""
    record = parse_packet_record(text)
    if record is None:
        return False
    contexts = [part for part in text.split(" ") if part.startswith("scontext=")]
    assert [context.split(":")[2] for context in contexts] == [record.domain]
    observation = observation_of(record)
    assert observation is None or observation.domain == record.domain
    return True


@given(text=st.text())
def test_any_text_at_all_is_no_record(text: str) -> None:
    assert parse_packet_record(text) is None


@given(packet=PACKETS, noise=st.text(max_size=20), at=st.floats(0, 1), gone=st.integers(0, 20))
def test_a_damaged_record_names_no_other_domain(
    packet: Packet, noise: str, at: float, gone: int
) -> None:
    text = packet.text()
    place = int(at * len(text))
    _believed(text[:place] + noise + text[place + gone :])


def _damaged(dice: random.Random, text: str) -> str:
    here, there = sorted(dice.choices(range(len(text)), k=2))
    kind = dice.randrange(5)
    if kind == 0:
        return text[:here] + chr(dice.randrange(1, 256)) + text[here + 1 :]
    if kind == 1:
        return text[:here] + text[there:]
    if kind == 2:
        return text[:there] + text[here:]
    if kind == 3:
        return text[:here] + DENIED[here:]
    return text[:here] + ' scontext=a:b:evil_t:s0"' + text[here:]


def test_a_hundred_thousand_damaged_records_in_seconds() -> None:
    dice = random.Random(7)  # noqa: S311 - repeatable on purpose
    start = time.monotonic()
    texts = (_damaged(dice, dice.choice((SENT, DENIED, ICMP))) for _ in range(100_000))
    taken = sum(_believed(text) for text in texts)
    assert 100 < taken < 50_000  # some damage does not show, such as in a port
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("filler", ["a", "41", "1", ":", ".", " ", '"', "f:", " src=1"])
def test_a_hostile_text_costs_no_time(filler: str) -> None:
    """No field can be made to be matched in many ways."""
    start = time.monotonic()
    for field in ('"curl"', "10.9.0.1", "40000", "eth0", "system_u", "mozilla_t", "packet"):
        for size in (1_000, MAX_LENGTH - len(SENT)):
            parse_packet_record(SENT.replace(field, filler * (size // len(filler))))
            parse_packet_record(SENT.replace(field, filler * (size // len(filler))) + "!")
    assert time.monotonic() - start < 2
