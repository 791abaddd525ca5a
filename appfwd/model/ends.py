"""When a grant ends: after a time, at a time, with the boot, or with a login session.

Two clocks are asked. CLOCK_BOOTTIME goes on in suspend and nobody sets it, but begins anew with
each boot; Unix time is there after a reboot too, but may be set. A length of time is measured by
the first, and by the second only from one boot to the next; a time of day by the second alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: The last Unix time of a year of four digits.
LAST_TIME = 253_402_300_799.0


@dataclass(frozen=True, order=True)
class Session:
    """A login session (sd-login(3)): its id, and when it was opened, in µs of Unix time.

    Ids come again, with the next boot at the latest.
    """

    id: str
    opened: int


@dataclass(frozen=True)
class Moment:
    """A point in time: of which boot (its id, random(4)), and seconds of CLOCK_BOOTTIME.

    ``sessions`` are those that are open then.
    """

    boot: str
    seconds: float
    sessions: frozenset[Session] = frozenset()


@dataclass(frozen=True)
class After:
    """Ends after ``length`` seconds, whether the machine is on meanwhile or not.

    ``until`` is when, and ``wall`` the Unix time of it as the clock was at its last boot; both are
    set once it is in force.
    """

    length: float
    until: Moment | None = None
    wall: float = 0.0

    def begun(self, now: Moment, wall: float) -> After:
        """Return this as it counts in the present boot."""
        if self.until is None:
            return self._in(self.length, now, wall)
        if self.until.boot == now.boot:
            return self
        left = self.wall - wall
        # More than there ever was: the clock was set back. What is left cannot be known then.
        return self._in(max(0.0, left) if left <= self.length else 0.0, now, wall)

    def left(self, now: Moment, wall: float) -> float:
        """Return the seconds that are left."""
        until = self.begun(now, wall).until
        assert until is not None  # noqa: S101 - begun sets it
        return until.seconds - now.seconds

    def _in(self, left: float, now: Moment, wall: float) -> After:
        return replace(self, until=Moment(now.boot, now.seconds + left), wall=wall + left)


@dataclass(frozen=True)
class At:
    """Ends at a Unix time, as the clock has it then."""

    wall: float

    def begun(self, _now: Moment, _wall: float) -> At:
        """Return this."""
        return self

    def left(self, _now: Moment, wall: float) -> float:
        """Return the seconds that are left."""
        return self.wall - wall


@dataclass(frozen=True)
class WithBoot:
    """Ends with the boot that it begins in."""

    boot: str | None = None

    def begun(self, now: Moment, _wall: float) -> WithBoot:
        """Return this with its boot."""
        return WithBoot(now.boot) if self.boot is None else self

    def left(self, now: Moment, _wall: float) -> float:
        """Return the seconds that are left: none in another boot, else nobody knows how many."""
        return float("inf") if self.boot in (None, now.boot) else 0.0


@dataclass(frozen=True)
class WithSession:
    """Ends with a login session."""

    session: Session

    def begun(self, _now: Moment, _wall: float) -> WithSession:
        """Return this."""
        return self

    def left(self, now: Moment, _wall: float) -> float:
        """Return the seconds that are left: nobody knows how many while the session is open."""
        return float("inf") if self.session in now.sessions else 0.0


End = After | At | WithBoot | WithSession


@dataclass(frozen=True)
class Finish:
    """When an end comes: a Unix time, infinite where nobody knows, and the id of its session."""

    at: float
    session: str = ""
