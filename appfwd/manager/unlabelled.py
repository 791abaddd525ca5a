"""Requests about traffic without label: what was observed, and who would lose what."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace

from appfwd.core.lines import within
from appfwd.core.machine import Machine
from appfwd.core.rule import Rule
from appfwd.errors import InvalidArgument, InvalidOption, shown
from appfwd.manager.documents import change_of, parsed
from appfwd.manager.parts import PAGE, Options, Parts, Row, fence_of
from appfwd.model.changes import (
    Change,
    add_fence,
    add_grants,
    add_guard,
    set_baseline,
    set_bridge,
)
from appfwd.model.destination import Destination, parse_destination
from appfwd.model.domain import known_domain, parse_domain
from appfwd.model.observation import Observation, Seen
from appfwd.model.options import PAGE_AT_MOST, check_options, direction_of, page_of
from appfwd.model.state import Bridge, DesiredState, Grant, Guard, place
from appfwd.ports import Caller, Rows

_CHOSEN = {"domain": str, "direction": str, "baseline": bool}
_OWN = {"domain": str, "destination": str, "direction": str}
_SUBJECT = {"subject": str, "subject-direction": str}
_PREVIEW = {"strict": bool, "loopback": bool, "dns": bool, **_SUBJECT, **_OWN}
_CHANGES = {
    "bridge-open": (Bridge.OPEN, None),
    "bridge-observed": (Bridge.OBSERVED, None),
    "bridge-closed": (Bridge.CLOSED, None),
    "baseline-on": (None, True),
    "baseline-off": (None, False),
}
_WITH_SUBJECT = ("apply", "fence", "guard")


class Unlabelled(Parts):
    """What the bridge lets pass, and what would become of it."""

    async def list_observed(self, _caller: Caller, options: Options) -> list[Row]:
        """Return what was observed, a page, each with what covers it once the bridge closes."""
        check_options(options, {**_CHOSEN, **PAGE})
        page = page_of(options)
        seen = self._chosen(await self._observer.seen(), options)
        machine = await self._kernel.machine()
        closed = Rule(self._closed(options), machine)
        return [_row(one, machine, closed) for one in seen[page]]

    async def accept_observed(self, caller: Caller, options: Options) -> list[str]:
        """Grant what was observed and would be lost once the bridge closes; return the grants' ids.

        Raises:
            AppfwdError: nothing was changed.

        """
        check_options(options, _CHOSEN)
        self._hold_active()
        seen = self._chosen(await self._observer.seen(), options)
        machine = await self._kernel.machine()
        closed = Rule(self._closed(options), machine)
        lost = [
            Grant(one.observation.domain, one.observation.destination)
            for one in seen
            if one.observation.domain in machine.policy.domains
            and not closed.allowed(one.observation.domain, one.observation.destination)
        ]
        if not lost:
            return []
        stored = await self._reconciler.submit(add_grants(lost), caller.uid)
        return [stored.records[grant].id for grant in lost]

    async def forget_observed(self, _caller: Caller, options: Options) -> int:
        """Forget what was observed; return how many lines that were."""
        check_options(options, {})
        return await self._observer.forget()

    async def preview(self, _caller: Caller, change: str, options: Options) -> Row:
        """Say who would lose what by a change, of what was observed; nothing is changed.

        ``subject`` of the options is what is fenced or guarded, or the document to apply.
        ``domain`` and ``destination`` are the caller's own connection; ``cut`` and ``why`` tell
        of it.
        """
        check_options(options, _PREVIEW)
        async with self._one_plan():
            return await self._preview(change, options)

    async def _preview(self, change: str, options: Options) -> Row:
        now, machine = self._reconciler.stored.state, await self._kernel.machine()
        if change == "apply":
            document = await parsed(_subject(change, options), machine, now)
            asked = await change_of(document, machine, self._reconciler.is_over)
        else:
            asked = _change(change, options, machine)
        seen, own = await self._observer.seen(), _own(options)

        def losses() -> tuple[list[Row], str]:
            before, after = Rule(now, machine), Rule(asked(now), machine)
            lost = [_loss_row(one) for one in seen if _loses(one.observation, before, after)]
            if own is None or not _loses(own, before, after):
                return lost, ""
            return lost, (
                f"your own connection ({own.domain}, {place(own.destination)}) would be cut; "
                f"'{_grant_command(own)}' keeps it"
            )

        lost, why = await asyncio.to_thread(losses)
        rows = Rows(lost[:PAGE_AT_MOST])
        return {"loses": rows, "total": len(lost), "cut": bool(why), "why": why}

    def _closed(self, options: Options) -> DesiredState:
        """Return the present state with the bridge closed, and the baseline that was asked for."""
        state = set_bridge(Bridge.CLOSED)(self._reconciler.stored.state)
        baseline = options.get("baseline", state.settings.baseline)
        settings = replace(state.settings, baseline=bool(baseline), active=True)
        return replace(state, settings=settings)

    def _chosen(self, seen: Iterable[Seen], options: Options) -> list[Seen]:
        direction = direction_of(options) if "direction" in options else None
        domain = options.get("domain")
        return [
            one
            for one in seen
            if domain in (None, one.observation.domain)
            and direction in (None, one.observation.destination.direction)
        ]


def _change(word: str, options: Options, machine: Machine) -> Change:
    if word in ("fence", "guard"):
        return _of_subject(word, options, machine)
    if word not in _CHANGES:
        known = ", ".join(f"'{name}'" for name in (*_CHANGES, *_WITH_SUBJECT))
        raise InvalidArgument(f"A change to preview is one of {known}, not {shown(word)}.")
    bridge, baseline = _CHANGES[word]
    if bridge is not None:
        return set_bridge(bridge, strict=bool(options.get("strict", False)))
    return set_baseline(on=bool(baseline))


def _subject(word: str, options: Options) -> str:
    if "subject" not in options:
        raise InvalidOption(f"With the change '{word}' goes the option 'subject'.")
    return str(options["subject"])


def _of_subject(word: str, options: Options, machine: Machine) -> Change:
    subject = _subject(word, options)
    if word == "guard":
        direction = direction_of({"direction": options.get("subject-direction", "out")})
        return add_guard(Guard(parse_destination(subject, direction)))
    return add_fence(
        fence_of(known_domain(parse_domain(subject), machine.policy), options, machine)
    )


def _own(options: Options) -> Observation | None:
    """Return the caller's own connection, where the options tell it."""
    named = [key for key in ("domain", "destination") if key in options]
    if not named:
        return None
    if len(named) == 1:
        msg = "Options 'domain' and 'destination' go together."
        raise InvalidOption(msg)
    text = str(options["destination"])
    return Observation(
        parse_domain(str(options["domain"])), parse_destination(text, direction_of(options))
    )


def _loses(one: Observation, before: Rule, after: Rule) -> bool:
    return before.allowed(one.domain, one.destination) and not after.allowed(
        one.domain, one.destination
    )


def _loss_row(one: Seen) -> Row:
    observation = one.observation
    return {
        "domain": observation.domain,
        "direction": observation.destination.direction.value,
        "destination": str(observation.destination),
        "count": one.count,
        "last": one.last,
    }


def _row(one: Seen, machine: Machine, closed: Rule) -> Row:
    domain, destination = one.observation.domain, one.observation.destination
    labels = sorted(set(_labels(machine, destination)))
    rights = [machine.policy.labels[label] for label in labels]
    allowed = bool(labels) and all(domain in r.send & r.recv for r in rights)
    loses = not closed.allowed(domain, destination)
    return {
        **_loss_row(one),
        "first": one.first,
        "label": ",".join(labels),
        "allowed": allowed,
        "granted": closed.granted(domain, destination),
        "loses": loses,
        "remedy": _remedy(one.observation, allowed=allowed) if loses else "",
    }


def _labels(machine: Machine, destination: Destination) -> Iterator[str]:
    """Yield the labels of the baseline, on or not, for a destination."""
    segments = machine.baseline.of(destination.direction)
    for rectangle in destination.rectangles():
        for _, segment in within(segments, rectangle.services):
            if segment is not None:
                yield segment.label


def _remedy(one: Observation, *, allowed: bool) -> str:
    grant = f"'{_grant_command(one)}'"
    return f"'appfwctl baseline on', or {grant}" if allowed else grant


def _grant_command(one: Observation) -> str:
    inbound = "--in " if one.destination.direction.value == "in" else ""
    return f"appfwctl grant {inbound}{one.domain} {one.destination}"
