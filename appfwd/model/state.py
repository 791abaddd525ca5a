"""The desired state: guards, grants, fences, settings, and trials that go back by themselves."""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import Enum

from appfwd.model.destination import Destination, Direction
from appfwd.model.ends import End, Moment
from appfwd.model.fence import Fence
from appfwd.model.tracked import Tracked

#: Seconds that an ended grant is remembered for, and how many are.
ENDED_FOR, ENDED_AT_MOST = 86_400.0, 1000


class Bridge(Enum):
    """What becomes of packets without a label.

    They pass for every domain (``open``), the same with first packets recorded (``observed``), or
    as the policy says (``closed``).
    """

    OPEN = "open"
    OBSERVED = "observed"
    CLOSED = "closed"

    @property
    def passes(self) -> bool:
        """Tell whether unlabelled packets pass for every domain."""
        return self is not Bridge.CLOSED


@dataclass(frozen=True)
class Guard:
    """Makes a destination default-deny."""

    destination: Destination


@dataclass(frozen=True)
class Grant:
    """Opens a destination to a domain."""

    domain: str
    destination: Destination


Member = Grant | Guard | Fence


@dataclass(frozen=True)
class Ending:
    """A grant with its end."""

    grant: Grant
    end: End


@dataclass(frozen=True)
class Ended:
    """A grant whose end has come: the id that it had, and when (Unix time)."""

    id: str
    grant: Grant
    at: float


@dataclass(frozen=True)
class Settings:
    """What holds for the whole machine; while not ``active`` nothing of it is in the kernel.

    ``strict`` asks for the policy capability always_check_network while the bridge is closed, so
    that packets are checked even where no label exists. ``baseline`` labels every port with the
    policy's own packet types.
    """

    bridge: Bridge = Bridge.OPEN
    strict: bool = False
    baseline: bool = False
    active: bool = True


@dataclass(frozen=True)
class BridgeWas:
    """What takes a change of the bridge back."""

    bridge: Bridge
    strict: bool


@dataclass(frozen=True)
class BaselineWas:
    """What takes a change of the baseline back."""

    on: bool


@dataclass(frozen=True)
class GuardWasNot:
    """What takes a new guard back."""

    guard: Guard


@dataclass(frozen=True)
class FenceWas:
    """What takes a change of a domain's fence back; ``fence`` None where there was none."""

    domain: str
    fence: Fence | None


Undo = BridgeWas | BaselineWas | GuardWasNot | FenceWas


@dataclass(frozen=True)
class Trial:
    """A change that goes back by itself, unless it is confirmed.

    ``length`` is how long it is in force, in seconds; ``until`` when it goes back, None before it
    is in force. It never outlives the boot that it was made in.
    """

    undo: Undo
    length: float
    until: Moment | None = None

    def over(self, now: Moment) -> bool:
        """Tell whether it is to go back."""
        return self.left(now) <= 0

    def left(self, now: Moment) -> float:
        """Return the seconds that are left; infinite before it is in force."""
        if self.until is None:
            return math.inf
        return self.until.seconds - now.seconds if self.until.boot == now.boot else 0.0


@dataclass(frozen=True)
class DesiredState:
    """All that the user asked for; but for the trials, the input of the compiler."""

    guards: AbstractSet[Guard] = frozenset()
    grants: AbstractSet[Grant] = frozenset()
    settings: Settings = field(default_factory=Settings)
    trials: frozenset[Trial] = frozenset()
    fences: frozenset[Fence] = frozenset()
    endings: frozenset[Ending] = frozenset()
    ended: frozenset[Ended] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "guards", Tracked(self.guards))
        object.__setattr__(self, "grants", Tracked(self.grants))

    @property
    def is_empty(self) -> bool:
        """Tell whether there is no guard, grant or fence."""
        return not (self.guards or self.grants or self.fences)

    def beyond(self, other: DesiredState) -> frozenset[Member]:
        """Return the members that ``other`` has not; quick where most are shared."""
        new = (self.guards - other.guards, self.grants - other.grants, self.fences - other.fences)
        return frozenset[Member]().union(*new)

    def fence_of(self, domain: str) -> Fence | None:
        """Return the fence of a domain; there is one at most."""
        return next((fence for fence in self.fences if fence.domain == domain), None)

    def domains(self) -> frozenset[str]:
        """Return every domain that has a grant."""
        return frozenset(grant.domain for grant in self.grants)

    def begun(self, now: Moment, wall: float) -> DesiredState:
        """Return this state with the trials and ends that begin ``now`` (``wall``: Unix time)."""
        trials = frozenset(
            replace(t, until=Moment(now.boot, now.seconds + t.length)) if t.until is None else t
            for t in self.trials
        )
        endings = frozenset(replace(e, end=e.end.begun(now, wall)) for e in self.endings)
        ended = frozenset(e for e in self.ended if e.at > wall - ENDED_FOR)
        return replace(self, trials=trials, endings=endings, ended=_newest(ended))

    def next_trial(self) -> Moment | None:
        """Return when the next trial goes back; None where there is none."""
        ends = [trial.until for trial in self.trials if trial.until is not None]
        return min(ends, key=lambda end: end.seconds, default=None)

    def seconds_left(self, now: Moment, wall: float) -> float:
        """Return the seconds until the next trial goes back or grant ends; infinite for never."""
        trials = (trial.left(now) for trial in self.trials)
        return min((*trials, *(e.end.left(now, wall) for e in self.endings)), default=math.inf)


def _newest(ended: frozenset[Ended]) -> frozenset[Ended]:
    if len(ended) <= ENDED_AT_MOST:
        return ended
    return frozenset(sorted(ended, key=lambda one: one.at)[-ENDED_AT_MOST:])


def place(destination: Destination) -> str:
    """Return a destination as people are shown it, inbound ones told apart."""
    return str(destination) + (" inbound" if destination.direction is Direction.IN else "")


def describe(trial: Trial) -> str:
    """Return in words what is on trial."""
    match trial.undo:
        case GuardWasNot(guard):
            return f"the guard of {place(guard.destination)}"
        case BaselineWas(on):
            return f"the baseline turned {'off' if on else 'on'}"
        case FenceWas(domain, _):
            return f"the fence of {domain}"
        case BridgeWas(bridge, _):
            return f"the bridge, which was {bridge.value}"
