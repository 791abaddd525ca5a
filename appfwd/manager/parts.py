"""What every part of the manager works with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from appfwd.core.audience import kept_by
from appfwd.core.machine import Machine
from appfwd.errors import AppfwdError, InvalidArgument
from appfwd.kernel import Kernel
from appfwd.model.destination import Destination, parse_destination
from appfwd.model.domain import known_domain, parse_domain
from appfwd.model.fence import Fence
from appfwd.model.options import check_options, direction_of
from appfwd.observer import Observer
from appfwd.ports import Processes, Selinux
from appfwd.reconciler import Reconciler

Options = Mapping[str, object]
Row = dict[str, Any]

PAGE = {"offset": int, "limit": int}
PLACE = {"direction": str}
FENCE = {"loopback": bool, "dns": bool}


class Parts:
    """The parts, and what all parsing of requests shares."""

    def __init__(
        self,
        reconciler: Reconciler,
        kernel: Kernel,
        selinux: Selinux,
        observer: Observer,
        processes: Processes,
    ) -> None:
        self._reconciler, self._kernel = reconciler, kernel
        self._selinux, self._observer = selinux, observer
        self._processes = processes
        self._planning = asyncio.Lock()

    async def _domain(self, text: str) -> str:
        return known_domain(parse_domain(text), await self._kernel.policy())

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
