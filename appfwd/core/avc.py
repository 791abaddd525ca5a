"""AVC records of packets, as the kernel writes them, and what they tell of unlabelled traffic.

The form of a record is fixed by the kernel: its head by ``audit_log_start`` (kernel/audit.c), the
verdict and the contexts by security/selinux/avc.c, what lies between by security/lsm_audit.c. Every
field has its one place, so the whole text is matched at once and no field is ever searched for.
The one field that a program chooses, ``comm``, holds no space and no quote within its quotes: the
kernel writes such names as hexadecimal digits (``audit_log_untrustedstring``).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from appfwd.model.addresses import AddressRange, Family
from appfwd.model.destination import Destination, Direction
from appfwd.model.observation import Observation
from appfwd.model.services import LAST_PORT, Service

#: The longest message of the audit system, in bytes (MAX_AUDIT_MESSAGE_LENGTH, libaudit.h).
MAX_LENGTH = 8970

#: Labels of unlabelled packets under observation, with the IANA protocol that each stands for;
#: None: any protocol that has no label of its own.
SEEN_TYPES: Mapping[str, int | None] = MappingProxyType(
    {
        "appfwd_seen_tcp_t": 6,
        "appfwd_seen_udp_t": 17,
        "appfwd_seen_dccp_t": 33,
        "appfwd_seen_sctp_t": 132,
        "appfwd_seen_other_t": None,
    }
)

#: Labels of the first packets of flows that have no other label, while unlabelled packets pass for
#: all but the fenced; the same meaning. What is refused has one, and so tells its protocol, which
#: the kernel's record does not.
NEW_TYPES: Mapping[str, int | None] = MappingProxyType(
    {
        "appfwd_new_icmp_t": 1,
        "appfwd_new_tcp_t": 6,
        "appfwd_new_udp_t": 17,
        "appfwd_new_dccp_t": 33,
        "appfwd_new_icmpv6_t": 58,
        "appfwd_new_sctp_t": 132,
        "appfwd_new_other_t": None,
    }
)

#: Both: labels of first packets that stand for no audience.
FIRST_TYPES: Mapping[str, int | None] = MappingProxyType({**SEEN_TYPES, **NEW_TYPES})

_TYPE = r"[A-Za-z_][A-Za-z0-9_.-]{0,127}"  # as in appfwd.model.domain
_UNTRUSTED = r'(?:"[!#-~]*"|(?:[0-9A-F]{2})+)'
_RECORD = re.compile(
    r"audit\((?P<seconds>[0-9]{1,12})\.(?P<millis>[0-9]{3}):(?P<serial>[0-9]{1,10})\): "
    r"avc:  (?P<verdict>granted|denied)  \{ (?P<permission>send|recv) \} for  "
    rf"pid=[0-9]{{1,10}} comm=(?P<comm>{_UNTRUSTED})"
    r"(?: saddr=(?P<saddr>[0-9a-f.:]{2,45}))?(?: src=(?P<src>[0-9]{1,5}))?"
    r"(?: daddr=(?P<daddr>[0-9a-f.:]{2,45}))?(?: dest=(?P<dest>[0-9]{1,5}))?"
    r"(?: netif=[^\s]{1,15})?"
    rf' scontext=[^\s:"]+:[^\s:"]+:(?P<domain>{_TYPE})(?::[^\s"]+)?'
    rf' tcontext=[^\s:"]+:[^\s:"]+:(?P<label>{_TYPE})(?::[^\s"]+)?'
    r" tclass=packet(?: permissive=[01])?"
    rf"(?: srawcon={_UNTRUSTED})?(?: trawcon={_UNTRUSTED})?",
    re.ASCII,
)
_MAPPED = 0xFFFF  # what stands before the last 32 bits of an IPv4-mapped address (RFC 4291)


@dataclass(frozen=True)
class PacketRecord:
    """One AVC record of class packet.

    ``time`` is Unix time in seconds, ``serial`` the audit system's number of the event. An address
    is a range of one. Addresses are None where the record has none at all, ports where it has no
    port: not every protocol has ports, and the kernel knows those of few. ``comm`` names whoever
    ran when the packet was checked, often another program than the one that owns the packet, and
    is fit to be shown but not to be trusted.
    """

    time: float
    serial: int
    granted: bool
    permission: str
    domain: str
    label: str
    local: AddressRange | None
    local_port: int | None
    remote: AddressRange | None
    remote_port: int | None
    comm: str


def parse_packet_record(text: str) -> PacketRecord | None:
    """Return the record that ``text`` is, from ``audit(`` to its end; never raises.

    None: it is no AVC record of class packet with one permission, ``send`` or ``recv``, or it is
    not whole.
    """
    found = _RECORD.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if found is None:
        return None
    try:
        source, destination = _hosts(found["saddr"], found["daddr"])
        source_port, destination_port = _ports(found["src"], found["dest"])
    except ValueError:
        return None
    here, there = (source, source_port), (destination, destination_port)
    if found["permission"] == "recv":
        here, there = there, here
    return PacketRecord(
        time=int(found["seconds"]) + int(found["millis"]) / 1000,
        serial=int(found["serial"]),
        granted=found["verdict"] == "granted",
        permission=found["permission"],
        domain=found["domain"],
        label=found["label"],
        local=here[0],
        local_port=here[1],
        remote=there[0],
        remote_port=there[1],
        comm=_comm(found["comm"]),
    )


def named_remote(record: PacketRecord) -> AddressRange | None:
    """Return a record's remote end; None where no destination can name it.

    That is where there is none, or an IPv4-mapped address.
    """
    remote = record.remote
    mapped = remote is not None and remote.family is Family.IPV6 and remote.first >> 32 == _MAPPED
    return None if mapped else remote


def observation_of(record: PacketRecord) -> Observation | None:
    """Return what a record tells of unlabelled traffic; None where it tells nothing of it.

    Only packets that were let pass under one of :data:`SEEN_TYPES` do. What the record does not
    tell stays open: the port where the kernel knew none, protocol and port for all protocols that
    share a label. A remote end that no destination can name (none, or an IPv4-mapped address)
    makes no observation.
    """
    remote = named_remote(record)
    if not record.granted or record.label not in SEEN_TYPES or remote is None:
        return None
    outbound = record.permission == "send"
    port = record.remote_port if outbound else record.local_port
    protocol = SEEN_TYPES[record.label]
    service = Service(protocol, None if protocol is None or port is None else (port, port))
    direction = Direction.OUT if outbound else Direction.IN
    return Observation(record.domain, Destination(direction, remote, service))


def _hosts(*texts: str | None) -> tuple[AddressRange | None, ...]:
    """Return both addresses. The kernel omits one that is zero; the other tells its family."""
    addresses = [None if text is None else ipaddress.ip_address(text) for text in texts]
    versions = {address.version for address in addresses if address is not None}
    if not versions:
        return (None,) * len(texts)
    (version,) = versions  # two families in one packet: not of the kernel, a ValueError
    return tuple(_host(Family(version), 0 if one is None else int(one)) for one in addresses)


def _host(family: Family, address: int) -> AddressRange:
    return AddressRange(family, address, address)


def _ports(*texts: str | None) -> tuple[int | None, ...]:
    """Return both ports. The kernel reads them together and omits one that is zero."""
    if all(text is None for text in texts):
        return (None,) * len(texts)
    ports = tuple(0 if text is None else int(text) for text in texts)
    if max(ports) > LAST_PORT:
        msg = "no such port"
        raise ValueError(msg)
    return ports


def _comm(text: str) -> str:
    """Return a program's name, made printable."""
    if text.startswith('"'):
        return text[1:-1]
    name = bytes.fromhex(text).decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in name)
