"""Who reaches a destination, by what the kernel has, and through what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from appfwd.core.avc import FIRST_TYPES, SEEN_TYPES
from appfwd.core.machine import Machine
from appfwd.core.module import PACKET_ATTRIBUTE, Module
from appfwd.model.destination import Destination
from appfwd.model.domain import is_packet_type
from appfwd.model.policy import Rights
from appfwd.model.state import DesiredState


class Uses:
    """Who may use each label under a loaded module; ``labelling``: packets are checked at all."""

    def __init__(self, machine: Machine, module: Module, *, labelling: bool) -> None:
        self._module, self._policy = module, machine.policy
        self.domains = machine.policy.domains
        self.unlabeled, self.labelling = machine.contexts.unlabeled, labelling

    def users(self, label: str) -> frozenset[str]:
        """Return who may both send and receive packets of a label."""
        if self.passes(label):
            return self.domains - self._module.fenced if self.labelling else self.domains
        if label == self.unlabeled:
            rights = self._policy.unlabeled
        else:
            rights = self._module.users(label) or self._policy.labels.get(label) or Rights()
        return rights.send & rights.recv & self.domains

    def passes(self, label: str) -> bool:
        """Tell whether packets of a label pass for all that are not fenced.

        Observed ones do, and with an open bridge unlabelled ones.
        """
        if label in SEEN_TYPES:
            return self._module.observed
        return not self.labelling or (label == self.unlabeled and self._module.bridge)


@dataclass(frozen=True)
class Reaching:
    """A domain with the labels that it may use within a destination, and by what it may.

    ``everywhere``: it reaches all of the destination.
    """

    domain: str
    everywhere: bool
    labels: tuple[str, ...]
    through: str


def reaching(
    uses: Uses, labels: Iterable[str], state: DesiredState, place: Destination
) -> tuple[Reaching, ...]:
    """Return every domain that reaches ``place``, whose packets get ``labels``, by name."""
    wanted = sorted(labels)
    users = {label: uses.users(label) for label in wanted}
    granted: dict[str, list[Destination]] = {}
    for grant in state.grants:
        if grant.destination.overlaps(place):
            granted.setdefault(grant.domain, []).append(grant.destination)
    found = []
    for domain in sorted(frozenset[str]().union(*users.values())):
        mine = tuple(label for label in wanted if domain in users[label])
        through = _through(uses, mine, granted.get(domain, ()))
        found.append(Reaching(domain, len(mine) == len(wanted), mine, through))
    return tuple(found)


def _through(uses: Uses, labels: Iterable[str], granted: Iterable[Destination]) -> str:
    reasons = []
    places = sorted(granted, key=Destination.sort_key)
    if places:
        reasons.append(f"granted {', '.join(str(place) for place in places[:3])}")
    if not uses.labelling:
        return "; ".join([*reasons, "appfwd labels nothing, so no packet is checked"])
    for label in labels:
        if uses.passes(label):
            reasons.append("unlabelled packets pass for all (the bridge is open)")
        elif label == uses.unlabeled:
            reasons.append("policy lets it use unlabelled packets")
        elif not is_packet_type(label):
            reasons.append(f"policy lets it use {label}")
        elif not places:
            reasons.append("policy lets it use what its packets are without a grant")
    return "; ".join(dict.fromkeys(reasons))


def kind_of(target: str, unlabeled: str) -> str:
    """Return what a rule's target is: ``policy``, ``appfwd`` or ``unlabelled``."""
    if target == unlabeled:
        return "unlabelled"
    ours = target == PACKET_ATTRIBUTE or is_packet_type(target) or target in FIRST_TYPES
    return "appfwd" if ours else "policy"
