"""Changes from one desired state to the next, as functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from appfwd.errors import NotFound
from appfwd.model.destination import Destination
from appfwd.model.ends import End, Moment
from appfwd.model.fence import Fence
from appfwd.model.state import (
    BaselineWas,
    Bridge,
    BridgeWas,
    DesiredState,
    Ended,
    Ending,
    FenceWas,
    Grant,
    Guard,
    GuardWasNot,
    Trial,
    Undo,
    place,
)

#: A change gives the state that follows, or raises one of appfwd's errors and leaves all as it is.
Change = Callable[[DesiredState], DesiredState]


def add_guard(guard: Guard, trial: float | None = None) -> Change:
    """Return the change that guards a destination; guarding it again changes nothing.

    ``trial`` is for how many seconds, unless it is confirmed. What holds for good stays so.
    """

    def change(state: DesiredState) -> DesiredState:
        after = replace(state, guards=state.guards | {guard})
        return _tried(state, after, GuardWasNot(guard), trial)

    return change


def add_fence(fence: Fence, trial: float | None = None) -> Change:
    """Return the change that fences a domain, or has its fence spare something else.

    What policy let the domain do counts from its first fence: by a later one it is not seen.
    """

    def change(state: DesiredState) -> DesiredState:
        had = state.fence_of(fence.domain)
        now = fence if had is None else replace(fence, kept=had.kept)
        return _tried(state, _fence(state, fence.domain, now), FenceWas(fence.domain, had), trial)

    return change


def add_grant(grant: Grant, end: End | None = None) -> Change:
    """Return the change that adds a grant, for good or until its ``end``.

    What is granted for good stays so; of two ends the later request's counts.
    """

    def change(state: DesiredState) -> DesiredState:
        ends = any(ending.grant == grant for ending in state.endings)
        after = _without_ends(replace(state, grants=state.grants | {grant}), {grant})
        if end is None or (grant in state.grants and not ends):
            return after
        return replace(after, endings=after.endings | {Ending(grant, end)})

    return change


def add_grants(grants: Iterable[Grant]) -> Change:
    """Return the change that adds several grants."""
    added = frozenset(grants)
    return lambda state: replace(state, grants=state.grants | added)


def set_bridge(bridge: Bridge, *, strict: bool = False, trial: float | None = None) -> Change:
    """Return the change of the bridge; ``strict`` goes with a closed one alone."""

    def change(state: DesiredState) -> DesiredState:
        was = BridgeWas(state.settings.bridge, state.settings.strict)
        return _tried(state, _bridge(state, BridgeWas(bridge, strict)), was, trial)

    return change


def set_baseline(*, on: bool, trial: float | None = None) -> Change:
    """Return the change that labels every port, or no longer does."""

    def change(state: DesiredState) -> DesiredState:
        was = BaselineWas(state.settings.baseline)
        return _tried(state, _baseline(state, on=on), was, trial)

    return change


def set_active(*, active: bool) -> Change:
    """Return the change that takes everything out of the kernel, or brings it back."""
    return lambda state: replace(state, settings=replace(state.settings, active=active))


def confirm() -> Change:
    """Return the change that makes what is tried permanent.

    Raises (when applied):
        NotFound: nothing is tried.

    """

    def change(state: DesiredState) -> DesiredState:
        if not state.trials:
            msg = "Nothing waits to be confirmed: no change was made with --for, or it went back."
            raise NotFound(msg)
        return replace(state, trials=frozenset())

    return change


def end_trials(over: Callable[[Trial], bool]) -> Change:
    """Return the change that takes back every trial that is ``over``."""

    def change(state: DesiredState) -> DesiredState:
        ended = frozenset(filter(over, state.trials))
        for trial in ended:
            state = _undone(state, trial.undo)
        return replace(state, trials=state.trials - ended)

    return change


def end_trials_at(now: Moment) -> Change:
    """Return the change that takes back every trial whose time is over at ``now``."""
    return end_trials(lambda trial: trial.over(now))


def end_grants_at(now: Moment, wall: float, ids: Mapping[Grant, str]) -> Change:
    """Return the change that takes away every grant whose end has come (``wall``: Unix time).

    ``ids`` has the ids of grants, which are remembered with them for a while.
    """

    def change(state: DesiredState) -> DesiredState:
        over = frozenset(e.grant for e in state.endings if e.end.left(now, wall) <= 0)
        return end_these(over, wall, ids)(state)

    return change


def end_these(over: frozenset[Grant], wall: float, ids: Mapping[Grant, str]) -> Change:
    """Return the change that ends some grants, those of them that have an end (see above)."""

    def change(state: DesiredState) -> DesiredState:
        mine = over & {ending.grant for ending in state.endings}
        ended = frozenset(Ended(ids.get(grant, ""), grant, wall) for grant in mine)
        after = replace(state, grants=state.grants - mine, ended=state.ended | ended)
        return _without_ends(after, mine)

    return change


def remove_guard(guard: Guard) -> Change:
    """Return the change that takes a guard away.

    Raises (when applied):
        NotFound: that very destination is not guarded; wider guards are named.

    """

    def change(state: DesiredState) -> DesiredState:
        if guard in state.guards:
            after = replace(state, guards=state.guards - {guard})
            return _without_trial(after, GuardWasNot(guard))
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
            return _without_ends(replace(state, grants=state.grants - {grant}), {grant})
        wider = (g.destination for g in state.grants if g.domain == grant.domain)
        what = f"{grant.domain} has no grant for {place(grant.destination)}"
        raise _not_found(what, grant.destination, wider)

    return change


def _without_ends(state: DesiredState, grants: Collection[Grant]) -> DesiredState:
    return replace(state, endings=frozenset(e for e in state.endings if e.grant not in grants))


def remove_fence(domain: str) -> Change:
    """Return the change that takes a domain's fence away.

    Raises (when applied):
        NotFound: the domain is not fenced.

    """

    def change(state: DesiredState) -> DesiredState:
        had = state.fence_of(domain)
        if had is None:
            msg = f"{domain} is not fenced; 'appfwctl list --kind fence' shows who is."
            raise NotFound(msg)
        return _without_trial(_fence(state, domain, None), FenceWas(domain, had))

    return change


def _fence(state: DesiredState, domain: str, fence: Fence | None) -> DesiredState:
    others = frozenset(other for other in state.fences if other.domain != domain)
    return replace(state, fences=others | ({fence} if fence else frozenset()))


def _bridge(state: DesiredState, to: BridgeWas) -> DesiredState:
    strict = to.strict and to.bridge is Bridge.CLOSED
    return replace(state, settings=replace(state.settings, bridge=to.bridge, strict=strict))


def _baseline(state: DesiredState, *, on: bool) -> DesiredState:
    return replace(state, settings=replace(state.settings, baseline=on))


def _undone(state: DesiredState, undo: Undo) -> DesiredState:
    match undo:
        case BridgeWas():
            return _bridge(state, undo)
        case BaselineWas(on):
            return _baseline(state, on=on)
        case GuardWasNot(guard):
            return replace(state, guards=state.guards - {guard})
        case FenceWas(domain, fence):
            return _fence(state, domain, fence)


def _tried(
    before: DesiredState, after: DesiredState, undo: Undo, trial: float | None
) -> DesiredState:
    """Return ``after``, which goes back to what held before the first trial of its subject."""
    earlier = _trial_of(before, undo)
    after = _without_trial(after, undo)
    if trial is None or (after == before and earlier is None):
        return after
    begun = Trial(earlier.undo if earlier else undo, trial)
    if _undone(after, begun.undo) == after:  # it is what held before
        return after
    return replace(after, trials=after.trials | {begun})


def _trial_of(state: DesiredState, undo: Undo) -> Trial | None:
    """Return the trial of the same subject; there is one at most."""
    return next((trial for trial in state.trials if _same_subject(trial.undo, undo)), None)


def _without_trial(state: DesiredState, undo: Undo) -> DesiredState:
    return replace(
        state, trials=frozenset(t for t in state.trials if not _same_subject(t.undo, undo))
    )


def _same_subject(one: Undo, other: Undo) -> bool:
    if isinstance(one, GuardWasNot):
        return one == other
    if isinstance(one, FenceWas):
        return isinstance(other, FenceWas) and one.domain == other.domain
    return type(one) is type(other)


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
