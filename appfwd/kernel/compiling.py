"""Compiling one state after another, each from the last, for a policy that has what it needs."""

from __future__ import annotations

from collections.abc import Collection

from appfwd.core.compiler import Artefacts, Compiled, compile_next, compile_state, is_quick
from appfwd.core.machine import Machine
from appfwd.core.module import DOMAIN_ATTRIBUTE, STRICT_NEEDS
from appfwd.errors import PolicyUnsupported
from appfwd.model.state import DesiredState, Grant


class Compiling:
    """Remembers the last compile, so that what differs little from it costs little."""

    def __init__(self) -> None:
        self._last: Compiled | None = None
        self._known: tuple[Compiled, Collection[Grant], Artefacts] | None = None

    def is_quick(self, state: DesiredState, machine: Machine) -> bool:
        """Tell whether ``state`` is compiled in no time, since little differs from the last."""
        return is_quick(self._last, state, machine)

    def next(
        self, state: DesiredState, machine: Machine, ready: Collection[Grant] = ()
    ) -> Artefacts:
        """Return what ``state`` comes to; ``ready`` as for core.compiler.compile_state.

        Raises:
            PolicyUnsupported: the policy has not what is needed.

        """
        last = self._last
        if last is None or last.state is not state or last.machine != machine:
            self._last = last = compile_next(last, state, machine)
        known = self._known
        if known is None or known[0] is not last or known[1] != ready:
            self._known = known = (last, ready, _supported(last.artefacts(ready), machine))
        return known[2]

    def foreseen(self, state: DesiredState, machine: Machine) -> Artefacts:
        """Return what ``state`` would come to; the next is compiled from the last all the same.

        Raises:
            PolicyUnsupported: the policy has not what is needed.

        """
        return _supported(compile_next(self._last, state, machine).artefacts(), machine)


def compile_supported(state: DesiredState, machine: Machine) -> Artefacts:
    """Compile the whole of ``state``.

    Raises:
        PolicyUnsupported: the policy has not what is needed.

    """
    return _supported(compile_state(state, machine), machine)


def _supported(wanted: Artefacts, machine: Machine) -> Artefacts:
    attributes = machine.policy.attributes
    if wanted.module.bridge and DOMAIN_ATTRIBUTE not in attributes:
        msg = (
            "The loaded policy has no attribute 'domain', which the bridge for unlabelled "
            "packets needs; close the bridge first ('appfwctl bridge close')."
        )
        raise PolicyUnsupported(msg)
    if wanted.module.strict and not attributes.issuperset(STRICT_NEEDS):
        msg = (
            "The loaded policy lacks the attributes netif_type and node_type, so with the "
            "capability always_check_network nothing would get out; close the bridge without "
            "--strict."
        )
        raise PolicyUnsupported(msg)
    return wanted
