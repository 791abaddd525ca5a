"""The one rule, asked for one domain and one destination: what would be, without building it.

    allowed(D, X) = granted(D, X) or (not guarded(X) and not fenced(D, X) and base(D, X))

A fence holds everywhere but where it spares its domain. The answers are for places of one host
and port; of wider ones it allows what it is sure of alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from appfwd.core.audience import Base
from appfwd.core.lines import Segment, within
from appfwd.core.machine import Machine
from appfwd.model.destination import Destination
from appfwd.model.state import DesiredState


class Rule:
    """The rule for a desired state on a machine.

    Who may use unlabelled packets by policy is not wholly seen while the bridge is open, since the
    policy's compiler drops rules that the bridge covers; then fewer are said to be allowed.
    """

    def __init__(self, state: DesiredState, machine: Machine) -> None:
        self._state = state
        self._domains = machine.policy.domains
        self._base = Base.of(state, machine)
        self._granted: Mapping[str, list[Destination]] = _by_domain(state)

    def granted(self, domain: str, destination: Destination) -> bool:
        """Tell whether a grant of the domain holds the whole destination."""
        return domain in self._domains and any(
            grant.contains(destination) for grant in self._granted.get(domain, ())
        )

    def guarded(self, destination: Destination) -> bool:
        """Tell whether a guard touches the destination."""
        return any(guard.destination.overlaps(destination) for guard in self._state.guards)

    def allowed(self, domain: str, destination: Destination) -> bool:
        """Tell whether the domain reaches the destination, both ways."""
        if not self._state.settings.active or self.granted(domain, destination):
            return True
        return not self.guarded(destination) and self.unguarded(domain, destination)

    def unguarded(self, domain: str, destination: Destination) -> bool:
        """Tell whether the domain reaches it by the baseline, or without a label."""
        fence = self._state.fence_of(domain)
        if fence and not any(spared.contains(destination) for spared in fence.spared()):
            return False
        segments = self._base.baseline.of(destination.direction)
        return all(
            self._may_use(domain, segment, fenced=fence is not None)
            for rectangle in destination.rectangles()
            for _, segment in within(segments, rectangle.services)
        )

    def _may_use(self, domain: str, segment: Segment | None, *, fenced: bool) -> bool:
        base = self._base
        rights = base.spared(segment, frozenset({domain})) if fenced else base.rights(segment)
        return rights is None or domain in rights.send & rights.recv


def _by_domain(state: DesiredState) -> dict[str, list[Destination]]:
    found: dict[str, list[Destination]] = defaultdict(list)
    for grant in state.grants:
        found[grant.domain].append(grant.destination)
    return found
