"""The policy module: packet types, who may use them, and the bridge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from appfwd.core.cil import Node, allow, render
from appfwd.model.policy import KernelContexts, LoadedPolicy, Rights

PACKET_ATTRIBUTE = "appfwd_packet_type"
BRIDGE_ATTRIBUTE = "appfwd_bridge"
DOMAIN_ATTRIBUTE = "domain"

#: What the kernel needs of every packet type: resets, ICMP errors and other packets that no
#: process sends are checked as its own domain (security/selinux/hooks.c, selinux_ip_postroute).
KERNEL_NEEDS = ("send",)


@dataclass(frozen=True)
class Module:
    """What the loaded module gives: packet types with their users, and the bridge."""

    types: Mapping[str, Rights] = field(default_factory=dict)
    bridge: bool = False

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
    return Module(types, policy.bridge)


def module_text(module: Module, contexts: KernelContexts) -> str:
    """Render ``module`` as CIL."""
    return render(_nodes(module, contexts))


def _nodes(module: Module, contexts: KernelContexts) -> Iterator[Node]:
    yield ("typeattribute", PACKET_ATTRIBUTE)
    for name in sorted(module.types):
        yield ("type", name)
        yield ("roletype", contexts.role, name)
        yield ("typeattributeset", PACKET_ATTRIBUTE, (name,))
    yield allow(contexts.kernel, PACKET_ATTRIBUTE, KERNEL_NEEDS)
    for target in (PACKET_ATTRIBUTE, contexts.unlabeled):
        yield allow(contexts.loader, target, ("relabelto",))
    if module.bridge:
        yield ("typeattribute", BRIDGE_ATTRIBUTE)
        yield ("typeattributeset", BRIDGE_ATTRIBUTE, (DOMAIN_ATTRIBUTE,))
        yield allow(BRIDGE_ATTRIBUTE, contexts.unlabeled, ("send", "recv"))
    yield from _grants(module)


def _grants(module: Module) -> Iterator[Node]:
    """Yield an optional block for each domain: a domain that policy lost takes only its own."""
    rules: dict[str, list[Node]] = defaultdict(list)
    for name, rights in sorted(module.types.items()):
        for domain in sorted(rights.send | rights.recv):
            may = [p for p, who in (("send", rights.send), ("recv", rights.recv)) if domain in who]
            rules[domain].append(allow(domain, name, may))
    for domain, allows in sorted(rules.items()):
        yield ("optional", _block_name(domain), *allows)


def _block_name(domain: str) -> str:
    """Return the name of a domain's block; no dot may stand in it, and no two may be alike."""
    return "appfwd_of_" + domain.replace("-", "--").replace(".", "-_")


def module_for(wanted: Mapping[str, Rights], *, bridge: bool, kept: Mapping[str, Rights]) -> Module:
    """Return the module to load: the wanted types and those that are still named or kept.

    Types are named by their users, so a name in both has the same users in both.
    """
    return Module({**kept, **wanted}, bridge)
