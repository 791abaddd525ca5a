"""The desired state: guards, grants, settings, and trials that go back by themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from appfwd.model.destination import Destination, Direction


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
class Moment:
    """A point in time: of which boot (its id, random(4)), and seconds of CLOCK_BOOTTIME."""

    boot: str
    seconds: float


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


Undo = BridgeWas | BaselineWas | GuardWasNot


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
        if self.until is None:
            return False
        return self.until.boot != now.boot or self.until.seconds <= now.seconds


@dataclass(frozen=True)
class DesiredState:
    """All that the user asked for; but for the trials, the input of the compiler."""

    guards: frozenset[Guard] = frozenset()
    grants: frozenset[Grant] = frozenset()
    settings: Settings = field(default_factory=Settings)
    trials: frozenset[Trial] = frozenset()

    def domains(self) -> frozenset[str]:
        """Return every domain that has a grant."""
        return frozenset(grant.domain for grant in self.grants)

    def begun(self, now: Moment) -> DesiredState:
        """Return this state with the trials that begin at ``now``."""
        trials = frozenset(
            replace(t, until=Moment(now.boot, now.seconds + t.length)) if t.until is None else t
            for t in self.trials
        )
        return replace(self, trials=trials)

    def next_end(self) -> Moment | None:
        """Return when the next trial goes back; None where there is none."""
        ends = [trial.until for trial in self.trials if trial.until is not None]
        return min(ends, key=lambda end: end.seconds, default=None)


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
        case BridgeWas(bridge, _):
            return f"the bridge, which was {bridge.value}"
