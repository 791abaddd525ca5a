"""Whose doing a denial is: what a state says of places, made ready to be asked about many."""

from __future__ import annotations

from appfwd.core.places import Places, by_domain
from appfwd.model.observation import Observation
from appfwd.model.state import DesiredState


class Concerns:
    """Tells which denials a person can be asked about under a state."""

    def __init__(self, state: DesiredState) -> None:
        self.state = state
        self._fences = {fence.domain: Places(fence.spared()) for fence in state.fences}
        self._guards = Places(guard.destination for guard in state.guards)
        self._granted = by_domain((grant.domain, grant.destination) for grant in state.grants)

    def granted(self, one: Observation) -> bool:
        """Tell whether the place is granted."""
        places = self._granted.get(one.domain)
        return places is not None and places.hold(one.destination)

    def ours(self, one: Observation, *, unlabelled: bool) -> bool:
        """Tell whether it is our doing that the place is refused, and nobody decided so of it.

        A fence does it, or the closed bridge where the packets are ``unlabelled``. A guard is a
        decision; and what policy itself refuses is its own.
        """
        settings = self.state.settings
        if not settings.active or self._guards.meet(one.destination):
            return False
        spared = self._fences.get(one.domain)
        if spared is not None:
            return not spared.hold(one.destination)
        return unlabelled and not settings.bridge.passes

    def cause(self, one: Observation, *, unlabelled: bool) -> str:
        """Return in a word why a place is refused now.

        ``granted`` (it is allowed by now), ``guarded``, ``fenced``, ``closed`` (the bridge), or
        ``policy``.
        """
        if self.granted(one):
            return "granted"
        if self._guards.meet(one.destination):
            return "guarded"
        if self.ours(one, unlabelled=unlabelled):
            return "fenced" if one.domain in self._fences else "closed"
        return "policy"
