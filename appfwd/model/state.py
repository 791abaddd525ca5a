"""The desired state: guards, grants, settings, and the changes from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from appfwd.errors import NotFound
from appfwd.model.destination import Destination, Direction


class Bridge(Enum):
    """Whether unlabelled packets pass for every domain (``open``) or as policy says."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True)
class Guard:
    """Makes a destination default-deny."""

    destination: Destination


@dataclass(frozen=True)
class Grant:
    """Opens a destination to a domain."""

    domain: str
    destination: Destination


@dataclass(frozen=True)
class Settings:
    """What holds for the whole machine; while not ``active`` nothing of it is in the kernel."""

    bridge: Bridge = Bridge.OPEN
    active: bool = True


@dataclass(frozen=True)
class DesiredState:
    """All that the user asked for; the one input of the compiler."""

    guards: frozenset[Guard] = frozenset()
    grants: frozenset[Grant] = frozenset()
    settings: Settings = field(default_factory=Settings)

    def domains(self) -> frozenset[str]:
        """Return every domain that has a grant."""
        return frozenset(grant.domain for grant in self.grants)


#: A change gives the state that follows, or raises one of appfwd's errors and leaves all as it is.
Change = Callable[[DesiredState], DesiredState]


def add_guard(guard: Guard) -> Change:
    """Return the change that guards a destination; guarding it again changes nothing."""
    return lambda state: replace(state, guards=state.guards | {guard})


def add_grant(grant: Grant) -> Change:
    """Return the change that adds a grant; adding it again changes nothing."""
    return lambda state: replace(state, grants=state.grants | {grant})


def set_bridge(bridge: Bridge) -> Change:
    """Return the change that opens or closes the bridge."""
    return lambda state: replace(state, settings=replace(state.settings, bridge=bridge))


def set_active(*, active: bool) -> Change:
    """Return the change that takes everything out of the kernel, or brings it back."""
    return lambda state: replace(state, settings=replace(state.settings, active=active))


def remove_guard(guard: Guard) -> Change:
    """Return the change that takes a guard away.

    Raises (when applied):
        NotFound: that very destination is not guarded; wider guards are named.

    """

    def change(state: DesiredState) -> DesiredState:
        if guard in state.guards:
            return replace(state, guards=state.guards - {guard})
        wider = (g.destination for g in state.guards)
        raise _not_found(f"{place(guard.destination)} is not guarded", guard.destination, wider)

    return change


def remove_grant(grant: Grant) -> Change:
    """Return the change that takes a grant away.

    Raises (when applied):
        NotFound: there is no grant for that very destination; wider grants are named.

    """

    def change(state: DesiredState) -> DesiredState:
        if grant in state.grants:
            return replace(state, grants=state.grants - {grant})
        wider = (g.destination for g in state.grants if g.domain == grant.domain)
        what = f"{grant.domain} has no grant for {place(grant.destination)}"
        raise _not_found(what, grant.destination, wider)

    return change


def place(destination: Destination) -> str:
    """Return a destination as people are shown it, inbound ones told apart."""
    return str(destination) + (" inbound" if destination.direction is Direction.IN else "")


def _not_found(what: str, asked: Destination, others: Iterable[Destination]) -> NotFound:
    found = sorted(
        (other for other in others if other.contains(asked) or asked.contains(other)),
        key=Destination.sort_key,
    )
    if not found:
        return NotFound(f"{what}; 'appfwctl list' shows what there is.")
    names = ", ".join(place(other) for other in found[:5])
    kind = "a wider one exists" if any(o.contains(asked) for o in found) else "narrower ones exist"
    return NotFound(f"{what}, but {kind}: {names}. Name that one, as it was given.")
