"""Whether the kernel gives what the module says: each access vector asked for once a load."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from appfwd.core.module import KERNEL_NEEDS, Module, Pool
from appfwd.core.verify import access_wanted
from appfwd.errors import VerifyFailed
from appfwd.model.policy import KernelContexts, Rights
from appfwd.model.slots import is_slot
from appfwd.ports import Selinux


class AccessCheck:
    """Asks the kernel for access vectors of packet types (``/sys/fs/selinux/access``).

    What it says holds until the next policy load or commit of booleans, and a type can have
    hundreds of users, so what was answered well is not asked again before.
    """

    def __init__(self, selinux: Selinux) -> None:
        self._selinux = selinux
        self._load: int | None = None
        self._held: set[tuple[str, Rights]] = set()
        self._fenced: set[str] = set()

    def switched(self, before: int, after: int, slots: Collection[str]) -> None:
        """Take note of a commit of booleans of ``slots``, and of the counts of loads around it.

        What else is known holds on, unless more than that happened in between.
        """
        if (self._load, after) == (before, before + 1):
            self._load = after
            self._held = {(name, rights) for name, rights in self._held if name not in slots}

    def hold(self, module: Module, contexts: KernelContexts, load: int) -> None:
        """Hold that the kernel gives what ``module`` says, and its fenced domains no more.

        ``load`` is the count of policy loads that ``module`` is known to be of.

        Raises:
            VerifyFailed: it does not.

        """
        if load != self._load:
            self._load, self._held, self._fenced = load, set(), set()
        users = {name: module.users(name) for name in module.types}
        new = {name: rights for name, rights in users.items() if (name, rights) not in self._held}
        slots = list(filter(is_slot, new))
        fenced = module.fenced - self._fenced
        self._hold_fences(fenced, contexts)
        few = {slot: _witnesses(module.pool, module.on.get(slot, frozenset())) for slot in slots}
        self._hold_types(Module({**new, **few}), contexts)
        self._hold_slots({slot: new[slot] for slot in slots}, module.pool, contexts)
        self._held.update(new.items())
        self._fenced |= fenced

    def _hold_fences(self, fenced: frozenset[str], contexts: KernelContexts) -> None:
        for domain in sorted(fenced):
            if not self._selinux.access(domain, contexts.unlabeled).isdisjoint({"send", "recv"}):
                msg = f"The kernel lets {domain} use unlabelled packets, though it is fenced."
                raise VerifyFailed(msg)

    def _hold_slots(
        self, slots: Mapping[str, Rights], pool: Pool, contexts: KernelContexts
    ) -> None:
        """Hold that no member of the pool may use a slot whose boolean for it is off.

        The kernel's own domain may be a member too, and has what it needs of every type.
        """
        for slot, users in slots.items():
            for domain in sorted(_outside(pool, users.send | users.recv)):
                needed = KERNEL_NEEDS if domain == contexts.kernel else ()
                if not self._selinux.access(domain, slot).isdisjoint({"send", "recv"} - {*needed}):
                    msg = f"The kernel lets {domain} use {slot}, though its boolean is off."
                    raise VerifyFailed(msg)

    def _hold_types(self, module: Module, contexts: KernelContexts) -> None:
        for (domain, name), needed in access_wanted(module, contexts).items():
            missing = needed - self._selinux.access(domain, name)
            if missing:
                what = " and ".join(sorted(missing))
                msg = f"The kernel does not give {domain} the right to {what} on {name}."
                raise VerifyFailed(msg)


def _witnesses(pool: Pool, on: frozenset[str]) -> Rights:
    """Return who is asked for where some members may use a slot: of a group one of each right.

    All of a group have what one of them has, since it is one rule that gives it.
    """
    groups = [pool.groups[name] for name in on & pool.groups.keys()]
    send, recv = (
        frozenset(min(domains) for domains in of_right if domains)
        for of_right in ([g.send for g in groups], [g.recv for g in groups])
    )
    return Rights.both(on & pool.domains) | Rights(send, recv)


def _outside(pool: Pool, users: frozenset[str]) -> frozenset[str]:
    """Return enrolled domains, and one of each group, that are not among some users."""
    beyond = ((group.send | group.recv) - users for group in pool.groups.values())
    return (pool.domains - users) | {min(domains) for domains in beyond if domains}
