"""Whether what was read back is what was asked for, and nobody has more than was granted."""

from __future__ import annotations

from appfwd.core.compiler import Artefacts
from appfwd.core.module import KERNEL_NEEDS, Module
from appfwd.core.plan import Snapshot
from appfwd.errors import NotExclusive, VerifyFailed
from appfwd.model.policy import KernelContexts, Rights


def verify(snapshot: Snapshot, wanted: Artefacts) -> None:
    """Hold the kernel's state against the artefacts.

    Raises:
        NotExclusive: somebody may use a packet type of ours beyond its audience.
        VerifyFailed: something is missing or differs.

    """
    verify_module(snapshot.module, wanted.module)
    for slot in sorted(wanted.module.types):
        if snapshot.module.on.get(slot) != wanted.module.on.get(slot):
            msg = f"The booleans of {slot} are not as they were set; another program sets them."
            raise VerifyFailed(msg)
    if not wanted.bridge.passes and snapshot.module.bridge:
        msg = "The bridge is still open after it was closed; nothing else was changed."
        raise VerifyFailed(msg)
    if snapshot.module.strict is not wanted.module.strict:
        msg = "The policy capability always_check_network is not as it was asked for."
        raise VerifyFailed(msg)
    if snapshot.module.fenced != wanted.module.fenced:
        msg = "The fences in the policy that the kernel has loaded are not those asked for."
        raise VerifyFailed(msg)
    if snapshot.table != wanted.table:
        msg = (
            "The nftables table inet appfwd read back differs from what was written; "
            "another program may hold it ('nft list table inet appfwd' shows it)."
        )
        raise VerifyFailed(msg)


def verify_exclusive(loaded: Module, wanted: Module) -> None:
    """Hold that nobody has more than is wanted on the types that are loaded already.

    Raises:
        NotExclusive: the message names who else may use a type, and by what permission.

    """
    for name, rights in sorted(wanted.types.items()):
        extra = loaded.types.get(name, rights) - rights
        if extra:
            raise NotExclusive(_too_many(name, extra))


def verify_module(loaded: Module, wanted: Module) -> None:
    """Hold the packet types in the loaded policy against those wanted.

    Raises:
        NotExclusive: the message names who else may use a type, and by what permission.
        VerifyFailed: a type or one of its users is missing.

    """
    verify_exclusive(loaded, wanted)
    for name, rights in sorted(wanted.types.items()):
        found = loaded.types.get(name)
        if found is None:
            msg = f"Packet type {name} is not in the policy that the kernel has loaded."
            raise VerifyFailed(msg)
        if rights - found:
            who = ", ".join(sorted((rights - found).send | (rights - found).recv))
            msg = f"The loaded policy does not let {who} use {name}, as it was asked to."
            raise VerifyFailed(msg)
    if wanted.bridge and not loaded.bridge:
        msg = "The bridge for unlabelled packets is not in the policy that the kernel has loaded."
        raise VerifyFailed(msg)
    if wanted.fenced - loaded.fenced:
        who = ", ".join(sorted(wanted.fenced - loaded.fenced))
        msg = f"The loaded policy still lets {who} use packets that no grant is for."
        raise VerifyFailed(msg)
    if wanted.observed and not loaded.observed:
        msg = "The rule that lets observed packets pass is not in the policy that is loaded."
        raise VerifyFailed(msg)


def _too_many(name: str, extra: Rights) -> str:
    parts = [f"{domain} may send" for domain in sorted(extra.send)[:5]]
    parts += [f"{domain} may receive" for domain in sorted(extra.recv)[:5]]
    more = len(extra.send) + len(extra.recv) - len(parts)
    others = f", and {more} more" if more else ""
    return (
        f"Another policy module opens packets of type {name}: {', '.join(parts)}{others}. "
        f"Find its rule with 'sesearch -A -t {name} -c packet' and remove that module."
    )


def access_wanted(
    wanted: Module, contexts: KernelContexts
) -> dict[tuple[str, str], frozenset[str]]:
    """Return the permissions that the kernel must give: (domain, packet type) to permissions."""
    result: dict[tuple[str, str], set[str]] = {}
    for name, rights in wanted.types.items():
        for domain in rights.send:
            result.setdefault((domain, name), set()).add("send")
        for domain in rights.recv:
            result.setdefault((domain, name), set()).add("recv")
        result.setdefault((contexts.kernel, name), set()).update(KERNEL_NEEDS)
        result.setdefault((contexts.loader, name), set()).add("relabelto")
    return {pair: frozenset(permissions) for pair, permissions in result.items()}
