"""Whether the kernel gives what the module says: each access vector asked for once a load."""

from __future__ import annotations

from appfwd.core.module import Module
from appfwd.core.verify import access_wanted
from appfwd.errors import VerifyFailed
from appfwd.model.policy import KernelContexts, Rights
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

    def hold(self, module: Module, contexts: KernelContexts, load: int) -> None:
        """Hold that the kernel gives what ``module`` says, and its fenced domains no more.

        ``load`` is the count of policy loads that ``module`` is known to be of.

        Raises:
            VerifyFailed: it does not.

        """
        if load != self._load:
            self._load, self._held, self._fenced = load, set(), set()
        new = {name: r for name, r in module.types.items() if (name, r) not in self._held}
        fenced = module.fenced - self._fenced
        self._hold_fences(fenced, contexts)
        self._hold_types(Module(new), contexts)
        self._held.update(new.items())
        self._fenced |= fenced

    def _hold_fences(self, fenced: frozenset[str], contexts: KernelContexts) -> None:
        for domain in sorted(fenced):
            if not self._selinux.access(domain, contexts.unlabeled).isdisjoint({"send", "recv"}):
                msg = f"The kernel lets {domain} use unlabelled packets, though it is fenced."
                raise VerifyFailed(msg)

    def _hold_types(self, module: Module, contexts: KernelContexts) -> None:
        for (domain, name), needed in access_wanted(module, contexts).items():
            missing = needed - self._selinux.access(domain, name)
            if missing:
                what = " and ".join(sorted(missing))
                msg = f"The kernel does not give {domain} the right to {what} on {name}."
                raise VerifyFailed(msg)
