"""The policy module: packet types, who may use them, fences and the bridge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from appfwd.core.audience import NamedByContent
from appfwd.core.avc import FIRST_TYPES, NEW_TYPES, SEEN_TYPES
from appfwd.core.cil import Node, allow, render
from appfwd.model.policy import KernelContexts, LoadedPolicy, Rights
from appfwd.model.slots import group_attribute, is_group, slot_name, switch_name, switched

PACKET_ATTRIBUTE = "appfwd_packet_type"
BRIDGE_ATTRIBUTE = "appfwd_bridge"
OBSERVED_ATTRIBUTE = "appfwd_observed"
STRICT_ATTRIBUTE = "appfwd_strict"
FENCED_ATTRIBUTE = "appfwd_fenced"
FOREIGN_ATTRIBUTE = "appfwd_foreign_type"
FIRST_ATTRIBUTE = "appfwd_first_type"
DOMAIN_ATTRIBUTE = "domain"
#: What a policy must have for ``strict``: without its rules for these nothing would get out.
STRICT_NEEDS = (DOMAIN_ATTRIBUTE, "netif_type", "node_type")

#: What the kernel needs of every packet type: resets, ICMP errors and other packets that no
#: process sends are checked as its own domain (security/selinux/hooks.c, selinux_ip_postroute).
KERNEL_NEEDS = ("send",)
_BOTH = ("recv", "send")


@dataclass(frozen=True)
class Pool:
    """How many slots there are, and the members that booleans can let use each of them.

    ``groups`` are members that stand for many, by a name that is made of who they are.
    """

    slots: int = 0
    domains: frozenset[str] = frozenset()
    groups: Mapping[str, Rights] = field(default_factory=dict)

    @property
    def members(self) -> frozenset[str]:
        """Return the names of domains and groups."""
        return self.domains | self.groups.keys()

    def rights(self, members: Iterable[str]) -> Rights:
        """Return what some members have together; one that is not known has nothing."""
        names = frozenset(members)
        found = Rights.both(frozenset(name for name in names if not is_group(name)))
        for name in names & self.groups.keys():
            found |= self.groups[name]
        return found

    def names(self) -> list[str]:
        """Return the packet types that are the slots, in order."""
        return [slot_name(number) for number in range(self.slots)]


@dataclass(frozen=True)
class Module:
    """What the loaded module gives: packet types with their users, fences, and three switches.

    ``bridge``: every domain may use unlabelled packets, and first packets labelled by protocol.
    ``observed``: every domain may use those of the types for observing, which is recorded.
    ``strict``: packets are checked even where no label exists. The ``fenced`` domains may use no
    packets but those of types that have an audience.

    Slots that are in use are among the types, without users; ``on`` are the members whose boolean
    lets them use one. Booleans keep their values over policy loads, so the text has nothing of it.
    """

    types: Mapping[str, Rights] = field(default_factory=dict)
    bridge: bool = False
    observed: bool = False
    strict: bool = False
    fenced: frozenset[str] = frozenset()
    pool: Pool = field(default_factory=Pool)
    on: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def users(self, packet_type: str) -> Rights:
        """Return who may use packets of one of our types now."""
        users = self.types.get(packet_type, Rights())
        return users | self.pool.rights(self.on.get(packet_type, ()))

    def switched(self, values: Mapping[str, bool]) -> Module:
        """Return this with booleans of slots set."""
        return replace(self, on=switched(self.on, values))

    def covers(self, other: Module) -> bool:
        """Tell whether all types of ``other`` are here with the same users."""
        return all(self.types.get(name) == rights for name, rights in other.types.items())


def kernel_rights(contexts: KernelContexts) -> Rights:
    """Return what the kernel has on each of our types; it never counts as a user's right."""
    return Rights(send=frozenset({contexts.kernel}))


def loaded_module(policy: LoadedPolicy, contexts: KernelContexts) -> Module:
    """Return what of ours is in the loaded policy, the kernel's own needs left out."""
    own = kernel_rights(contexts)
    types = {name: rights - own for name, rights in policy.packet_rights.items()}
    return Module(
        types,
        bridge=policy.bridge,
        observed=OBSERVED_ATTRIBUTE in policy.attributes,
        strict=STRICT_ATTRIBUTE in policy.attributes,
        fenced=policy.fenced - _unfenced(policy),
        pool=_loaded_pool(policy),
        on={slot: switches.on for slot, switches in policy.switches.items() if switches.on},
    )


def _loaded_pool(policy: LoadedPolicy) -> Pool:
    slots = policy.switches
    if set(slots) != set(Pool(len(slots)).names()):
        return Pool()
    if not slots:
        return Pool()
    members = frozenset.intersection(*(switches.members for switches in slots.values()))
    # A group that is not what its name says was changed by another module, or lost a domain.
    groups = {
        name: rights
        for name, rights in policy.groups.items()
        if name in members and NamedByContent().group_for(rights) == name
    }
    return Pool(len(slots), frozenset(m for m in members if not is_group(m)), groups)


def _unfenced(policy: LoadedPolicy) -> frozenset[str]:
    """Return who may use packets that are not ours, whatever the module says."""
    rights = (policy.unlabeled, *policy.labels.values())
    return frozenset[str]().union(*(r.send | r.recv for r in rights))


def is_installed(policy: LoadedPolicy) -> bool:
    """Tell whether a module of ours is in the loaded policy, whatever it gives."""
    return PACKET_ATTRIBUTE in policy.attributes


def is_current(policy: LoadedPolicy) -> bool:
    """Tell whether the module that is loaded is of this version: it has what all of ours have."""
    return FIRST_ATTRIBUTE in policy.attributes


def module_text(module: Module, contexts: KernelContexts) -> str:
    """Render ``module`` as CIL."""
    return render(_nodes(module, contexts))


def _nodes(module: Module, contexts: KernelContexts) -> Iterator[Node]:
    yield ("typeattribute", PACKET_ATTRIBUTE)
    yield ("typeattribute", FIRST_ATTRIBUTE)
    # So that it is in the loaded policy, and the version of the module is known by it.
    yield ("expandtypeattribute", (FIRST_ATTRIBUTE,), "false")
    for name in sorted({*module.types, *FIRST_TYPES, *module.pool.names()}):
        yield ("type", name)
        yield ("roletype", contexts.role, name)
        yield ("typeattributeset", PACKET_ATTRIBUTE, (name,))
    for name in sorted(FIRST_TYPES):
        yield ("typeattributeset", FIRST_ATTRIBUTE, (name,))
    yield allow(contexts.kernel, PACKET_ATTRIBUTE, KERNEL_NEEDS)
    for target in (PACKET_ATTRIBUTE, contexts.unlabeled):
        yield allow(contexts.loader, target, ("relabelto",))
    if module.fenced:
        yield from _fences(module.fenced)
    others = _unfenced_domains if module.fenced else _all_domains
    if module.bridge:
        yield from others(BRIDGE_ATTRIBUTE)
        for name in (contexts.unlabeled, *sorted(NEW_TYPES)):
            yield allow(BRIDGE_ATTRIBUTE, name, _BOTH)
    if module.observed:
        yield from others(OBSERVED_ATTRIBUTE)
        for name in sorted(SEEN_TYPES):
            yield allow(OBSERVED_ATTRIBUTE, name, _BOTH)
            yield ("auditallow", OBSERVED_ATTRIBUTE, name, ("packet", _BOTH))
    if module.strict:
        yield from _strict(contexts)
    yield from _grants(module)
    yield from _switches(module.pool)
    yield from _groups(module.pool)


def _all_domains(attribute: str) -> Iterator[Node]:
    """Yield an attribute of our own that stands for every domain, so that its rules are ours."""
    yield ("typeattribute", attribute)
    yield ("typeattributeset", attribute, (DOMAIN_ATTRIBUTE,))


def _unfenced_domains(attribute: str) -> Iterator[Node]:
    """Yield the same without the fenced domains.

    The compiler would take them out of the rule by giving it an attribute of its own making, and
    the rule could not be told for ours.
    """
    yield ("typeattribute", attribute)
    yield (
        "typeattributeset",
        attribute,
        ("and", (DOMAIN_ATTRIBUTE,), ("not", (FENCED_ATTRIBUTE,))),
    )


def _fences(fenced: frozenset[str]) -> Iterator[Node]:
    """Yield what takes every right to packets without an audience of ours from the fenced domains.

    A deny rule holds against every rule of every module, conditional ones too (libsepol 3.6).
    """
    yield ("typeattribute", FENCED_ATTRIBUTE)
    # Only the deny rule has it, which is no more in the loaded policy.
    yield ("expandtypeattribute", (FENCED_ATTRIBUTE,), "false")
    for domain in sorted(fenced):
        name = _block_name(domain, "fence")
        yield ("optional", name, ("typeattributeset", FENCED_ATTRIBUTE, (domain,)))
    yield ("typeattribute", FOREIGN_ATTRIBUTE)
    audience = ("and", (PACKET_ATTRIBUTE,), ("not", (FIRST_ATTRIBUTE,)))
    yield ("typeattributeset", FOREIGN_ATTRIBUTE, ("not", audience))
    yield ("deny", FENCED_ATTRIBUTE, FOREIGN_ATTRIBUTE, ("packet", _BOTH))


def _strict(contexts: KernelContexts) -> Iterator[Node]:
    """Yield the capability, and rules that let all pass that it checks beside packets.

    With always_check_network the kernel also checks peers, interfaces and hosts for every packet
    (security/selinux/hooks.c, selinux_peerlbl_enabled), which policies are not made for.
    """
    yield ("policycap", "always_check_network")
    yield from _all_domains(STRICT_ATTRIBUTE)
    unlabeled = contexts.unlabeled
    yield (
        "optional",
        "appfwd_strict_peer",
        ("allow", STRICT_ATTRIBUTE, unlabeled, ("peer", ("recv",))),
    )
    for target, kind, permissions in (
        ("netif_type", "netif", ("ingress", "egress")),
        ("node_type", "node", ("recvfrom", "sendto")),
    ):
        yield (
            "optional",
            f"appfwd_strict_{kind}",
            ("allow", STRICT_ATTRIBUTE, target, (kind, permissions)),
            ("allow", unlabeled, target, (kind, permissions)),
        )


def _grants(module: Module) -> Iterator[Node]:
    """Yield an optional block for each domain: a domain that policy lost takes only its own."""
    rules: dict[str, list[Node]] = defaultdict(list)
    for name, rights in sorted(module.types.items()):
        for domain in sorted(rights.send | rights.recv):
            may = [p for p, who in (("send", rights.send), ("recv", rights.recv)) if domain in who]
            rules[domain].append(allow(domain, name, may))
    for domain, allows in sorted(rules.items()):
        yield ("optional", _block_name(domain, "of"), *allows)


def _switches(pool: Pool) -> Iterator[Node]:
    """Yield the booleans of the slots, which are off when they come, and what each allows."""
    for domain in sorted(pool.domains):
        names = {slot: switch_name(slot, domain) for slot in pool.names()}
        yield from (("boolean", name, "false") for name in names.values())
        rules = (
            ("booleanif", name, ("true", allow(domain, slot, _BOTH)))
            for slot, name in names.items()
        )
        yield ("optional", _block_name(domain, "pool"), *rules)


def _groups(pool: Pool) -> Iterator[Node]:
    """Yield the groups, an optional block for each domain, and their booleans of the slots."""
    of: dict[str, list[Node]] = defaultdict(list)
    for group, rights in sorted(pool.groups.items()):
        for permission, domains in (("recv", rights.recv), ("send", rights.send)):
            attribute = group_attribute(group, permission)
            yield ("typeattribute", attribute)
            yield ("expandtypeattribute", (attribute,), "false")
            for domain in domains:
                of[domain].append(("typeattributeset", attribute, (domain,)))
        for slot in pool.names():
            name = switch_name(slot, group)
            yield ("boolean", name, "false")
            rules = (allow(group_attribute(group, p), slot, (p,)) for p in _BOTH)
            yield ("booleanif", name, ("true", *rules))
    for domain, members in sorted(of.items()):
        yield ("optional", _block_name(domain, "group"), *members)


def _block_name(domain: str, kind: str) -> str:
    """Return the name of a domain's block; no dot may stand in it, and no two may be alike."""
    return f"appfwd_{kind}_" + domain.replace("-", "--").replace(".", "-_")
