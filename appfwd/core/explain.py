"""Why a domain reaches a destination or not, from what the kernel has now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from appfwd.core.table import Table, labels_at
from appfwd.model.destination import Destination
from appfwd.model.state import DesiredState, Grant


@dataclass(frozen=True)
class Part:
    """A label within the destination, and which of ``send`` and ``recv`` the domain has on it."""

    label: str
    permissions: frozenset[str]

    @property
    def allowed(self) -> bool:
        """Tell whether packets pass both ways."""
        return self.permissions >= {"send", "recv"}


@dataclass(frozen=True)
class Explanation:
    """The verdict (``allowed``, ``denied`` or ``partly``), and what decides it.

    ``spared`` tells where a fenced domain's fence does not hold; None for one that is not fenced.
    """

    verdict: str
    why: str
    remedy: str
    labels: tuple[str, ...]
    guards: tuple[Destination, ...]
    grants: tuple[Grant, ...]
    spared: tuple[Destination, ...] | None


def labels_of(table: Table, destination: Destination, unlabeled: str) -> frozenset[str]:
    """Return the packet types that packets to and from ``destination`` get from ``table``."""
    direction = destination.direction
    found = frozenset[str | None]().union(
        *(labels_at(table, direction, r.peer, r.services) for r in destination.rectangles())
    )
    return frozenset(unlabeled if label is None else table.type_of(label) for label in found)


def explain(  # noqa: PLR0913 - all are facts of one question
    domain: str,
    destination: Destination,
    state: DesiredState,
    permissions: Mapping[str, frozenset[str]],
    *,
    unlabeled: str,
    labelling: bool,
) -> Explanation:
    """Say whether ``domain`` reaches ``destination``, why, and what would change it.

    ``permissions`` has what the kernel gives the domain on each label found there; ``labelling``
    tells whether the table has any label (without one the kernel checks no packet).
    """
    parts = [
        Part(label, held if labelling else frozenset({"send", "recv"}))
        for label, held in sorted(permissions.items())
    ]
    allowed = {part.allowed for part in parts}
    verdict = "partly" if len(allowed) > 1 else "allowed" if allowed == {True} else "denied"
    guards = [g.destination for g in state.guards if g.destination.overlaps(destination)]
    grants = [g for g in state.grants if g.domain == domain and g.destination.overlaps(destination)]
    fence = state.fence_of(domain)
    guards.sort(key=Destination.sort_key)
    grants.sort(key=lambda grant: grant.destination.sort_key())
    return Explanation(
        verdict,
        _why(domain, verdict, parts, unlabeled, labelling=labelling),
        _remedy(domain, destination, verdict),
        tuple(part.label for part in parts),
        tuple(guards),
        tuple(grants),
        None if fence is None else fence.spared(),
    )


def difference(verdict: str, *, wanted: bool, destination: Destination) -> str:
    """Say where the kernel's verdict is not what the desired state asks for; else nothing.

    ``wanted`` is what the one rule says of the destination, which is one host and one port: of
    wider ones nothing is said.
    """
    if not destination.is_point or verdict == ("allowed" if wanted else "denied"):
        return ""
    asked = "would be allowed" if wanted else "would be denied"
    return (
        f"By what is stored it {asked}: the kernel does not have what is stored, or SELinux policy "
        "changed a moment ago. 'appfwctl status' says whether there is a problem."
    )


def _why(domain: str, verdict: str, parts: list[Part], unlabeled: str, *, labelling: bool) -> str:
    if not labelling:
        return "Nothing is guarded, so appfwd labels no packet and the kernel checks none for it."
    refused = [part for part in parts if not part.allowed]
    shown = refused if verdict == "denied" else parts
    sentences = []
    for part in shown:
        missing = " and ".join(p for p in ("send", "recv") if p not in part.permissions)
        what = "unlabelled packets" if part.label == unlabeled else f"packets of {part.label}"
        may = f"may not {missing}" if missing else "may send and recv"
        sentences.append(f"{domain} {may} {what}")
    return "; ".join(sentences) + "."


def _remedy(domain: str, destination: Destination, verdict: str) -> str:
    inbound = "--in " if destination.direction.value == "in" else ""
    if verdict == "allowed":
        return f"'appfwctl guard {inbound}{destination}' closes it to all but those granted."
    return f"'appfwctl grant {inbound}{domain} {destination}' would allow it."
