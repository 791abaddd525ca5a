"""What is known of the policy that the kernel has loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from appfwd.model.services import Interval
from appfwd.model.slots import Switches


@dataclass(frozen=True)
class Rights:
    """Who may use a packet type: domains that may ``send``, and that may ``recv``."""

    send: frozenset[str] = frozenset()
    recv: frozenset[str] = frozenset()

    @classmethod
    def both(cls, domains: frozenset[str]) -> Rights:
        """Return the rights of ``domains`` to send and to receive."""
        return cls(domains, domains)

    def __or__(self, other: Rights) -> Rights:
        return Rights(self.send | other.send, self.recv | other.recv)

    def __sub__(self, other: Rights) -> Rights:
        return Rights(self.send - other.send, self.recv - other.recv)

    def __bool__(self) -> bool:
        return bool(self.send or self.recv)


@dataclass(frozen=True)
class KernelContexts:
    """The parts of contexts that policy fixes for the kernel's initial SIDs (selinuxfs).

    ``user``, ``role`` and ``level`` are those of unlabelled packets; ``level`` is None where the
    policy has no MLS. ``loader`` is the domain of the process that loads the table.
    """

    user: str
    role: str
    level: str | None
    unlabeled: str
    kernel: str
    loader: str

    def packet_context(self, packet_type: str) -> str:
        """Return the whole security context of a packet of ``packet_type``."""
        parts = [self.user, self.role, packet_type]
        return ":".join(parts if self.level is None else [*parts, self.level])


@dataclass(frozen=True, order=True)
class PortContext:
    """A port context of the policy: ports of a protocol (IANA number), and their port type."""

    protocol: int
    ports: Interval
    port_type: str


@dataclass(frozen=True, order=True)
class PacketRule:
    """An allow rule of class packet, as policy has it (``sesearch -c packet -A``).

    ``source`` and ``target`` are the types or attributes that the rule names; ``permissions`` are
    sorted. ``condition`` is the expression of booleans under which it holds (of a rule in an else
    branch the negation), empty where it always does; ``holds`` tells whether it does now.
    """

    source: str
    target: str
    permissions: tuple[str, ...]
    condition: str
    holds: bool


@dataclass(frozen=True)
class LoadedPolicy:
    """The loaded policy, as far as it concerns packets.

    ``packet_rights`` has every packet type of ours with who may use it, by every rule (those of
    booleans that are off count too: somebody can set them), but for what the booleans of slots
    give: those are in ``switches``, by slot. They are no part of what policies are compared by,
    since the compiler does not depend on them. ``groups`` are the groups of domains that have
    booleans, as they are loaded. ``unlabeled`` is who may use
    unlabelled packets by the rules that hold now, our bridge's rule left out; ``bridge`` tells
    whether that rule is loaded. ``fenced`` are the domains that our module denies the packets of
    others.

    ``labels`` has the packet types that policy itself brings, with who may use them by the rules
    that hold now; ``relabel`` are those that the process that loads the table may label with.
    ``ports`` are the port contexts in the order in which the kernel searches them: the first that
    fits counts (security/selinux/ss/services.c, security_port_sid).
    """

    domains: frozenset[str]
    attributes: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)
    packet_rights: Mapping[str, Rights] = field(default_factory=dict)
    unlabeled: Rights = field(default_factory=Rights)
    bridge: bool = False
    fenced: frozenset[str] = frozenset()
    labels: Mapping[str, Rights] = field(default_factory=dict)
    relabel: frozenset[str] = frozenset()
    ports: tuple[PortContext, ...] = ()
    groups: Mapping[str, Rights] = field(default_factory=dict)
    switches: Mapping[str, Switches] = field(default_factory=dict, compare=False)
