"""Random commands in the kernel: after each, every pair of domain and place is tried for real.

The one rule is worked out here from the commands alone. What `explain` says is held against the
same connections.
"""

import random
import time
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from .firewall import Firewall

DOMAINS = ("mozilla_t", "named_t", "irc_t")
HOSTS, PORTS = ("10.9.0.5", "10.9.0.6", "fd09::5"), (3128, 80)
End = tuple[str, tuple[str, int]]
#: Where is connected to, and by what.
ENDS: tuple[End, ...] = tuple(
    (kind, (host, port)) for kind in ("tcp", "udp") for host in HOSTS for port in PORTS
)


@dataclass(frozen=True)
class Place:
    """A destination as it is written, and what that means: networks, ports, protocols."""

    text: str
    networks: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    ports: range = range(65536)
    kinds: tuple[str, ...] = ("tcp", "udp")

    def covers(self, end: End) -> bool:
        kind, (host, port) = end
        within = any(ip_address(host) in ip_network(network) for network in self.networks)
        return within and port in self.ports and kind in self.kinds


def only(port: int) -> range:
    return range(port, port + 1)


#: What is guarded and granted: hosts, networks, ranges, everybody; they overlap.
PLACES = (
    Place("10.9.0.5:3128", ("10.9.0.5",), only(3128)),
    Place("10.9.0.5:3128/tcp", ("10.9.0.5",), only(3128), ("tcp",)),
    Place("10.9.0.6", ("10.9.0.6",)),
    Place("10.9.0.4-10.9.0.5", ("10.9.0.4/31",)),
    Place("10.9.0.0/24:80", ("10.9.0.0/24",), only(80)),
    Place("10.9.0.0/24:1000-4000/udp", ("10.9.0.0/24",), range(1000, 4001), ("udp",)),
    Place("[fd09::5]:3128", ("fd09::5",), only(3128)),
    Place("[fd09::/64]", ("fd09::/64",)),
    Place("any:80/tcp", ports=only(80), kinds=("tcp",)),
)
STEPS, EXPLAINED = 8, 3
#: How often a command takes away what an earlier one made, and how often one replaces it all.
TAKEN_AWAY, REPLACED = 0.4, 0.15
FILE = "/root/firewall.toml"


@dataclass
class Model:
    """What was asked for."""

    guards: set[Place] = field(default_factory=set)
    grants: set[tuple[str, Place]] = field(default_factory=set)
    fenced: set[str] = field(default_factory=set)

    def allowed(self, domain: str, end: End) -> bool:
        if any(d == domain and place.covers(end) for d, place in self.grants):
            return True
        return domain not in self.fenced and not any(g.covers(end) for g in self.guards)

    def change(self, dice: random.Random) -> list[str]:
        """Draw a command, do here what it does, and return its words."""
        if dice.random() < REPLACED:
            self.guards = set(dice.sample(PLACES, 2))
            self.grants = {(dice.choice(DOMAINS), dice.choice(PLACES)) for _ in range(3)}
            return ["apply", FILE]
        domain, place = dice.choice(DOMAINS), dice.choice(PLACES)
        kinds: list[tuple[str, str, set[Any], Any]] = [
            ("guard", "unguard", self.guards, place),
            ("grant", "revoke", self.grants, (domain, place)),
            ("fence", "unfence", self.fenced, domain),
        ]
        add, remove, members, subject = dice.choices(kinds, (5, 6, 2))[0]
        if members and dice.random() < TAKEN_AWAY:
            subject = dice.choice(sorted(members, key=repr))
        verb = remove if subject in members else add
        (members.remove if subject in members else members.add)(subject)
        words = subject if isinstance(subject, tuple) else (subject,)
        return [verb, *(word.text if isinstance(word, Place) else word for word in words)]

    def document(self) -> str:
        """Return what was asked for as a document."""
        guards = [f'[[guard]]\ndestination = "{place.text}"' for place in self.guards]
        grants = [
            f'[[grant]]\ndomain = "{domain}"\ndestination = "{place.text}"'
            for domain, place in self.grants
        ]
        fences = [f'[[fence]]\ndomain = "{d}"\nloopback = true' for d in self.fenced]
        return "\n".join([*guards, *grants, *fences])


def verdict(firewall: Firewall, domain: str, end: End) -> str:
    """Return what explain says of a pair."""
    kind, (host, port) = end
    to = f"[{host}]:{port}/{kind}" if ":" in host else f"{host}:{port}/{kind}"
    return str(firewall.json("explain", domain, to)["verdict"])


def test_after_each_command_the_one_rule_holds_for_every_pair(firewall: Firewall) -> None:
    probe, seed = firewall.guest.probe, time.time_ns()
    for kind, address in ENDS:
        probe.serve(address, kind=kind, netns="peer")
    dice, model, done = random.Random(seed), Model(), [f"seed {seed}"]  # noqa: S311 - no secret
    refused = 0
    for _ in range(STEPS):
        words = model.change(dice)
        done.append(" ".join(words))
        firewall.guest.write(FILE, model.document().encode())
        firewall.ctl(*words, *(["--yes"] if words[0] in ("guard", "fence", "apply") else []))
        got = {
            (domain, end): probe.reach(domain, end[1], kind=end[0]) == "ok"
            for domain in DOMAINS
            for end in ENDS
        }
        assert got == {pair: model.allowed(*pair) for pair in got}, done
        refused += list(got.values()).count(False)
        for pair in dice.sample(sorted(got), EXPLAINED):
            assert verdict(firewall, *pair) == ("allowed" if got[pair] else "denied"), (pair, done)
    firewall.ctl("apply", "--check", FILE)
    assert refused, done
