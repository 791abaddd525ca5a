"""What every part of the manager works with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from appfwd.asking.asker import Asker
from appfwd.core.audience import kept_by
from appfwd.core.machine import Machine
from appfwd.errors import AppfwdError, Busy, InvalidArgument
from appfwd.kernel import Kernel
from appfwd.listening.denials import Denials
from appfwd.listening.hearing import Hearing
from appfwd.listening.observer import Observer
from appfwd.model.destination import Destination, parse_destination
from appfwd.model.domain import known_domain, parse_domain
from appfwd.model.fence import Fence
from appfwd.model.options import check_options, direction_of
from appfwd.ports import Processes, Selinux
from appfwd.reconciler import Reconciler

Options = Mapping[str, object]
Row = dict[str, Any]

PAGE = {"offset": int, "limit": int}
PLACE = {"direction": str}
#: Plans and previews that wait at once for one that is made.
PLANS_AT_MOST = 16
FENCE = {"loopback": bool, "dns": bool}


@dataclass(frozen=True)
class Inside:
    """The parts of the daemon that requests are about."""

    reconciler: Reconciler
    kernel: Kernel
    selinux: Selinux
    hearing: Hearing
    observer: Observer
    denials: Denials
    asker: Asker
    processes: Processes


class Parts:
    """The parts, and what all parsing of requests shares."""

    def __init__(self, inside: Inside) -> None:
        self._reconciler, self._kernel = inside.reconciler, inside.kernel
        self._selinux, self._hearing = inside.selinux, inside.hearing
        self._observer, self._denials = inside.observer, inside.denials
        self._asker, self._processes = inside.asker, inside.processes
        self._planning, self._plans = asyncio.Lock(), 0

    async def _domain(self, text: str) -> str:
        return known_domain(parse_domain(text), await self._kernel.policy())

    @asynccontextmanager
    async def _one_plan(self) -> AsyncIterator[None]:
        """Let one plan at a time be made: who may only ask may ask much, of any size.

        Raises:
            Busy: many wait already.

        """
        if self._plans > PLANS_AT_MOST:
            msg = "Too many plans are asked for at once; try again in a moment."
            raise Busy(msg)
        self._plans += 1
        try:
            async with self._planning:
                yield
        finally:
            self._plans -= 1

    def _hold_active(self) -> None:
        if not self._reconciler.stored.state.settings.active:
            msg = "appfwd is down, so nothing would come into force; 'appfwctl up' first."
            raise AppfwdError(msg)


def fence_of(domain: str, options: Options, machine: Machine) -> Fence:
    """Return the fence of a domain that the options ask for.

    Raises:
        InvalidArgument: the domain cannot be fenced.

    """
    if domain == machine.contexts.kernel:
        msg = f"{domain} is the kernel itself, whose packets every connection needs."
        raise InvalidArgument(msg)
    spared = {name: bool(options.get(name, True)) for name in FENCE}
    return Fence(domain, **spared, kept=kept_by(domain, machine))


def destination_of(
    text: str, options: Options, known: Mapping[str, type] | None = None
) -> Destination:
    """Return the destination in ``text``, and hold the options against those ``known``.

    Raises:
        InvalidDestination, InvalidOption: as parsed.

    """
    check_options(options, {**PLACE, **(known or {})})
    return parse_destination(text, direction_of(options))
