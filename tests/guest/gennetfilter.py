"""What refpolicy's own generator of packet labels says, for the source of the guest's very policy.

It runs in the guest and writes rules, of iptables or of nftables; the maker of a policy would load
them as they are. Here they are read into plain values, and answered as the kernel would: a rule
that labels ends nothing, so of the rules that match a packet the last decides.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .lab.guest import Guest

ARCHIVE = "/usr/src/selinux-policy-src.tar.zst"
GENERATOR = "selinux-policy-src/support/gennetfilter.py"
PORTS_SOURCE = "selinux-policy-src/policy/modules/kernel/corenetwork.te.in"
DIRECTIONS = ("in", "out")
#: The protocols that a rule can name, and another that none does.
PROTOCOLS = ("tcp", "udp", "icmp", "icmpv6", "sctp", "dccp", "gre")
_FULL = range(65536)

_CHAINS = {"selinux_new_input": "in", "selinux_new_output": "out", "INPUT": "in", "OUTPUT": "out"}
_CONTEXT = r"system_u:object_r:(?P<type>\w+_packet_t):s0"
_IPTABLES = re.compile(
    r"base -A (?P<chain>\w+)(?: -p (?P<protocol>\w+)(?: --dport (?P<ports>[\d:]+))?)?"
    rf" -j SECMARK --selctx {_CONTEXT}"
)
_NFT_OBJECT = re.compile(rf'secmark (?P<name>\w+) {{ "{_CONTEXT}" }}')
_NFT_CHAIN = re.compile(r"chain (?P<chain>\w+) {")
_NFT_RULE = re.compile(
    r"(?:ct state new )?(?:(?P<protocol>tcp|udp) dport (?P<ports>[\d-]+) "
    r'|ip protocol (?P<v4>icmp) |ip6 nexthdr (?P<v6>icmpv6) )?meta secmark set "(?P<name>\w+)"'
)
#: All else that the generator writes: how packets come to these rules, and how flows keep labels.
_IPTABLES_FRAME = """\
pre *mangle
pre :PREROUTING ACCEPT [0:0]
pre :INPUT ACCEPT [0:0]
pre :FORWARD ACCEPT [0:0]
pre :OUTPUT ACCEPT [0:0]
pre :POSTROUTING ACCEPT [0:0]
pre :selinux_input - [0:0]
pre :selinux_output - [0:0]
pre :selinux_new_input - [0:0]
pre :selinux_new_output - [0:0]
pre -A INPUT -j selinux_input
pre -A OUTPUT -j selinux_output
pre -A selinux_input -m state --state NEW -j selinux_new_input
pre -A selinux_input -m state --state RELATED,ESTABLISHED -j CONNSECMARK --restore
pre -A selinux_output -m state --state NEW -j selinux_new_output
pre -A selinux_output -m state --state RELATED,ESTABLISHED -j CONNSECMARK --restore
post -A selinux_new_input -j CONNSECMARK --save
post -A selinux_new_input -j RETURN
post -A selinux_new_output -j CONNSECMARK --save
post -A selinux_new_output -j RETURN
post COMMIT
""".splitlines()
_NFT_FRAME = """\
#!/usr/sbin/nft -f
flush ruleset
table inet security {
type filter hook input priority 0; policy accept;
type filter hook forward priority 0; policy accept;
type filter hook output priority 0; policy accept;
ct state new ct secmark set meta secmark
ct state established,related meta secmark set ct secmark
}
""".splitlines()


@dataclass(frozen=True)
class Rule:
    """Labels packets of new connections: those of a protocol, to ports of the one that is asked."""

    direction: str
    """"in" or "out"."""
    protocol: str | None
    """None for every one."""
    ports: range
    packet_type: str


@dataclass(frozen=True)
class Generated:
    """The generator's two outputs, as the generator wrote them."""

    iptables: str
    nft: str


def generate(guest: Guest) -> Generated:
    """Run the generator in the guest; AssertionError if its source is not the policy's own."""
    versions = guest.run(
        "dpkg-query -W -f '${Version}\\n' selinux-policy-src selinux-policy-default", check=True
    ).out.split()
    assert len(versions) == 2, versions
    assert versions[0] == versions[1], versions
    guest.run(
        f"/usr/lib/apt/apt-helper cat-file {ARCHIVE} | tar -x {GENERATOR} {PORTS_SOURCE}",
        check=True,
    )
    command = ["/usr/bin/python3", GENERATOR, "--mcs"]
    iptables = guest.run([*command, PORTS_SOURCE], check=True).out
    return Generated(iptables, guest.run([*command, "--nft", PORTS_SOURCE], check=True).out)


def parse_iptables(text: str) -> list[Rule]:
    """Return the rules in their order; AssertionError for any line that is not known."""
    rules: list[Rule] = []
    for line in text.splitlines():
        if found := _IPTABLES.fullmatch(line):
            ports = _ports(found["ports"])
            rules.append(Rule(_CHAINS[found["chain"]], found["protocol"], ports, found["type"]))
        else:
            assert line in _IPTABLES_FRAME, line
    return rules


def parse_nft(text: str) -> list[Rule]:
    """Return the rules in their order; AssertionError for any line that is not known."""
    rules: list[Rule] = []
    types: dict[str, str] = {}
    direction = ""
    for line in _nft_lines(text):
        if found := _NFT_OBJECT.fullmatch(line):
            types[found["name"]] = found["type"]
        elif found := _NFT_CHAIN.fullmatch(line):
            direction = _CHAINS.get(found["chain"], "")
        elif found := _NFT_RULE.fullmatch(line):
            assert direction, line
            protocol = found["protocol"] or found["v4"] or found["v6"]
            rules.append(Rule(direction, protocol, _ports(found["ports"]), types[found["name"]]))
        else:
            assert line in _NFT_FRAME, line
    return rules


def _nft_lines(text: str) -> list[str]:
    """Return the lines, with each object, which is written in three, in one."""
    flat = re.sub(r"^\s+", "", text, flags=re.MULTILINE)
    return re.sub(r'{\s+("[^"]*")\s+}', r"{ \1 }", flat).splitlines()


def _ports(text: str | None) -> range:
    if text is None:
        return _FULL
    first, *rest = (int(word) for word in re.split("[:-]", text))
    return range(first, (rest[0] if rest else first) + 1)


Labels = dict[tuple[str, str], list[str | None]]


def labels_of(rules: Iterable[Rule]) -> Labels:
    """Return the packet type of every port, by direction and protocol; the last match decides.

    A protocol without ports has its type at every one.
    """
    labels: Labels = {(d, p): [None] * len(_FULL) for d in DIRECTIONS for p in PROTOCOLS}
    for rule in rules:
        for protocol in PROTOCOLS if rule.protocol is None else [rule.protocol]:
            line = labels[rule.direction, protocol]
            line[rule.ports.start : rule.ports.stop] = [rule.packet_type] * len(rule.ports)
    return labels
