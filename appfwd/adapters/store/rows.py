"""The desired state's members and trials as rows of the store, and back."""

from __future__ import annotations

import json
from typing import Any

from appfwd.model.destination import Direction, parse_destination
from appfwd.model.domain import parse_domain
from appfwd.model.ends import After, At, End, Moment, Session, WithBoot, WithSession
from appfwd.model.fence import Fence, Kept
from appfwd.model.state import (
    BaselineWas,
    Bridge,
    BridgeWas,
    Ended,
    Ending,
    FenceWas,
    Grant,
    Guard,
    GuardWasNot,
    Member,
    Trial,
    Undo,
)
from appfwd.ports import Record

RULE = "id, kind, domain, direction, destination, detail, created, uid"
TRIAL = "subject, was, detail, length, boot, until"
ENDING = "domain, direction, destination, kind, length, boot, until, wall"
ENDED = "id, domain, direction, destination, at"


def rule_row(member: Member) -> tuple[str, str, str, str, str]:
    """Return kind, domain, direction, destination and detail of a member."""
    match member:
        case Grant():
            return ("grant", *_grant_key(member), "")
        case Guard(place):
            return ("guard", "", place.direction.value, str(place), "")
        case Fence(domain):
            return ("fence", domain, "", "", _fence_text(member))


def rule_of(row: tuple[Any, ...]) -> tuple[Member, Record]:
    """Return the member that a row is of, and its record.

    Raises:
        AppfwdError, ValueError, KeyError: it is no row of ours.

    """
    number, kind, domain, direction, destination, detail, created, uid = row
    record = Record(str(number), created, uid)
    if kind == "fence":
        return _fence_of(parse_domain(domain), detail), record
    place = parse_destination(destination, Direction(direction))
    if kind == "grant":
        return Grant(parse_domain(domain), place), record
    return Guard(place), record


def trial_row(trial: Trial) -> tuple[str, str, str, float, str, float]:
    """Return a trial as a row."""
    assert trial.until is not None  # noqa: S101 - it is in force before it is stored
    end = (trial.length, trial.until.boot, trial.until.seconds)
    match trial.undo:
        case BridgeWas(bridge, strict):
            return ("bridge", bridge.value, "strict" if strict else "", *end)
        case BaselineWas(on):
            return ("baseline", "on" if on else "off", "", *end)
        case FenceWas(domain, fence):
            return ("fence", domain, _fence_text(fence) if fence else "", *end)
        case GuardWasNot(guard):
            place = guard.destination
            return ("guard", str(place), place.direction.value, *end)


def trial_of(row: tuple[Any, ...]) -> Trial:
    """Return the trial that a row is of.

    Raises:
        AppfwdError, ValueError, KeyError: it is no row of ours.

    """
    subject, was, detail, length, boot, until = row
    undo: Undo
    if subject == "bridge":
        undo = BridgeWas(Bridge(was), strict=detail == "strict")
    elif subject == "baseline":
        undo = BaselineWas(was == "on")
    elif subject == "fence":
        domain = parse_domain(was)
        undo = FenceWas(domain, _fence_of(domain, detail) if detail else None)
    else:
        undo = GuardWasNot(Guard(parse_destination(was, Direction(detail))))
    return Trial(undo, length, Moment(boot, until))


def ending_row(ending: Ending) -> tuple[str, str, str, str, float, str, float, float]:
    """Return a grant's end as a row; all are in force before they are stored."""
    key = _grant_key(ending.grant)
    match ending.end:
        case After(length, Moment(boot, until), wall):
            return (*key, "after", length, boot, until, wall)
        case At(wall):
            return (*key, "at", 0.0, "", 0.0, wall)
        case WithBoot(str(boot)):
            return (*key, "boot", 0.0, boot, 0.0, 0.0)
        case WithSession(Session(name, opened)):
            return (*key, "session", 0.0, name, float(opened), 0.0)
    raise AssertionError(ending)


def ending_of(row: tuple[Any, ...]) -> Ending:
    """Return the end that a row is of.

    Raises:
        AppfwdError, ValueError: it is no row of ours.

    """
    *key, kind, length, boot, until, wall = row
    end: End
    if kind == "after":
        end = After(length, Moment(boot, until), wall)
    elif kind == "session":
        end = WithSession(Session(boot, int(until)))
    else:
        end = At(wall) if kind == "at" else WithBoot(boot)
    return Ending(_grant_of(*key), end)


def ended_row(one: Ended) -> tuple[str, str, str, str, float]:
    """Return a grant that ended as a row."""
    return (one.id, *_grant_key(one.grant), one.at)


def ended_of(row: tuple[Any, ...]) -> Ended:
    """Return the grant that ended that a row is of.

    Raises:
        AppfwdError, ValueError: it is no row of ours.

    """
    number, *key, at = row
    return Ended(number, _grant_of(*key), at)


def _grant_key(grant: Grant) -> tuple[str, str, str]:
    place = grant.destination
    return (grant.domain, place.direction.value, str(place))


def _grant_of(domain: str, direction: str, destination: str) -> Grant:
    return Grant(parse_domain(domain), parse_destination(destination, Direction(direction)))


def _fence_text(fence: Fence) -> str:
    value = {
        "loopback": fence.loopback,
        "dns": fence.dns,
        "send": sorted(fence.kept.send),
        "recv": sorted(fence.kept.recv),
    }
    return json.dumps(value, separators=(",", ":"))


def _fence_of(domain: str, detail: str) -> Fence:
    value = json.loads(detail)
    kept = Kept(frozenset(value["send"]), frozenset(value["recv"]))
    return Fence(domain, bool(value["loopback"]), bool(value["dns"]), kept)
