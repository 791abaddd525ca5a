"""The whole desired state at once: what a document makes of it, and the document of what is."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from appfwd.errors import AppfwdError, InvalidArgument
from appfwd.model.changes import Change
from appfwd.model.destination import Destination
from appfwd.model.document import Document, Problem, reject
from appfwd.model.domain import known_domain
from appfwd.model.ends import After, At, End, WithBoot, WithSession
from appfwd.model.fence import Fence
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import (
    BaselineWas,
    Bridge,
    BridgeWas,
    DesiredState,
    Ending,
    Grant,
    Settings,
    Trial,
)
from appfwd.model.tomlplaces import Path

K = TypeVar("K", str, tuple[str, str, str])

#: Seconds that two ends may differ by and be the same: documents have times to the microsecond.
_SAME = 0.001
#: Wrong names after which no more are looked for.
_ENOUGH = 20


def settled(document: Document, policy: LoadedPolicy, state: DesiredState) -> Document:
    """Return the document with each domain by the name that ``policy`` has for it.

    A domain that policy has not may stay where ``state`` has it already, but not come.

    Raises:
        InvalidDocument: a domain is unknown, or has two fences that differ.

    """
    had = {grant.domain for grant in state.grants}, {fence.domain for fence in state.fences}
    problems: list[Problem] = []
    names: dict[str, str] = {}
    of_grants = {grant.domain: path for grant, path in reversed([*document.grants.items()])}
    of_fences = {fence.domain: path for fence, path in reversed([*document.fences.items()])}
    for paths, kept in zip((of_grants, of_fences), had, strict=True):
        for domain, path in paths.items():
            try:
                names[domain] = domain if domain in kept else known_domain(domain, policy)
            except AppfwdError as error:
                problems.append(Problem(path, error))
            if len(problems) > _ENOUGH:  # each looks for near names among all domains
                reject(document.text, problems)
    fences: dict[str, Fence] = {}
    for fence, path in document.fences.items():
        name = names.get(fence.domain, fence.domain)
        fenced = replace(fence, domain=name)
        if fences.setdefault(name, fenced) != fenced:
            msg = f"{name} is fenced twice, with different exceptions."
            problems.append(Problem(path, InvalidArgument(msg)))
    reject(document.text, problems)
    grants: dict[Grant, Path] = {}
    ends: dict[Grant, End | None] = {}
    for grant, path in document.grants.items():
        named, end = replace(grant, domain=names[grant.domain]), document.ends.get(grant)
        grants.setdefault(named, path)
        if ends.setdefault(named, end) != end:
            msg = f"This is granted to {named.domain} twice, with different ends."
            problems.append(Problem(path, InvalidArgument(msg)))
    reject(document.text, problems)
    return replace(
        document,
        grants=grants,
        ends={grant: end for grant, end in ends.items() if end is not None},
        fences={replace(f, domain=names[f.domain]): path for f, path in document.fences.items()},
    )


def become(document: Document, fences: Iterable[Fence], over: Callable[[End], bool]) -> Change:
    """Return the change that makes a settled document's state of whatever state there is.

    ``fences`` are those of the document, with what each domain keeps were it fenced now. Trials of
    what the document speaks of are over: what it says holds for good. A grant whose end has come,
    which ``over`` tells, does not come.
    """
    new = frozenset(fences)

    def change(state: DesiredState) -> DesiredState:
        had = {ending.grant: ending.end for ending in state.endings}
        ends = {grant: _end(end, had.get(grant)) for grant, end in document.ends.items()}
        gone = {grant for grant, end in ends.items() if over(end)}
        return replace(
            state,
            guards=frozenset(document.guards),
            grants=frozenset(document.grants) - gone,
            fences=frozenset(_with_kept(fence, state) for fence in new),
            settings=_settings(document, state),
            endings=frozenset(Ending(g, end) for g, end in ends.items() if g not in gone),
            trials=frozenset(trial for trial in state.trials if not _speaks_of(document, trial)),
        )

    return change


def _with_kept(fence: Fence, state: DesiredState) -> Fence:
    had = state.fence_of(fence.domain)
    return fence if had is None else replace(fence, kept=had.kept)


def _settings(document: Document, state: DesiredState) -> Settings:
    settings = state.settings
    bridge = settings.bridge if document.bridge is None else document.bridge
    strict = settings.strict if document.strict is None else document.strict
    strict = strict and bridge is Bridge.CLOSED
    settings = replace(settings, bridge=bridge, strict=strict)
    if document.baseline is not None:
        settings = replace(settings, baseline=document.baseline)
    return settings


def _speaks_of(document: Document, trial: Trial) -> bool:
    match trial.undo:
        case BridgeWas():
            return document.bridge is not None
        case BaselineWas():
            return document.baseline is not None
    return True


def _end(asked: End, had: End | None) -> End:
    """Return the end that was there where it is the same time, with the clock that it goes by."""
    match asked, had:
        case At(wall), (At() | After()) if abs(had.wall - wall) < _SAME:
            return had
        case WithBoot(), WithBoot():
            return had
    return asked


def document_text(state: DesiredState) -> str:
    """Return the document that :func:`become` makes ``state`` of; trials are not in it."""
    return "\n".join(_lines(state)) + "\n"


def _lines(state: DesiredState) -> Iterator[str]:
    yield "# appfwd: the whole desired state; 'appfwctl apply FILE' brings it into force."
    settings = state.settings
    yield from ("", "[settings]", f'bridge = "{settings.bridge.value}"')
    yield f"strict = {_truth(settings.strict)}"
    yield f"baseline = {_truth(settings.baseline)}"
    guards = _grouped((g.destination.direction.value, g.destination) for g in state.guards)
    for direction, places in guards.items():
        yield from ("", "[[guard]]", f'direction = "{direction}"', *_list("destination", places))
    for fence in sorted(state.fences, key=lambda fence: fence.domain):
        yield from ("", "[[fence]]", f'domain = "{fence.domain}"')
        yield from (f"loopback = {_truth(fence.loopback)}", f"dns = {_truth(fence.dns)}")
    ends = {ending.grant: _end_line(ending.end) for ending in state.endings}
    grants = _grouped(
        ((g.domain, g.destination.direction.value, ends.get(g, "")), g.destination)
        for g in state.grants
    )
    for (domain, direction, end), places in grants.items():
        yield from ("", "[[grant]]", f'domain = "{domain}"', f'direction = "{direction}"')
        yield from filter(None, (end,))
        yield from _list("destination", places)


def _grouped(pairs: Iterable[tuple[K, Destination]]) -> Mapping[K, list[Destination]]:
    found: dict[K, list[Destination]] = defaultdict(list)
    for key, place in pairs:
        found[key].append(place)
    ordered = sorted(found.items(), key=lambda item: item[0])
    return {key: sorted(places, key=Destination.sort_key) for key, places in ordered}


def _list(key: str, places: Iterable[Destination]) -> Iterator[str]:
    yield f"{key} = ["
    yield from (f"  {json.dumps(str(place))}," for place in places)
    yield "]"


def _end_line(end: End) -> str:
    match end:
        case WithBoot():
            return "boot = true"
        case WithSession(session):
            opened = datetime.fromtimestamp(session.opened / 1e6, UTC).isoformat()
            return f"session = {json.dumps(session.id)}\nopened = {opened}"
    return f"until = {datetime.fromtimestamp(end.wall, UTC).isoformat()}"


def _truth(value: bool) -> str:  # noqa: FBT001
    return "true" if value else "false"
