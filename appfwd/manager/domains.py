"""Which domains run, with what they run, what they are granted, and where they are connected."""

from __future__ import annotations

from collections import Counter

from appfwd.manager.parts import PAGE, Options, Parts, Row
from appfwd.manager.rows import running_row
from appfwd.model.options import PAGE_AT_MOST, check_options, page_of
from appfwd.ports import Caller

_RUNNING = {"domain": str, **PAGE}
#: Connections that a row names: of one domain that is asked for, and of each of many.
CONNECTIONS_OF_ONE, CONNECTIONS_OF_EACH = PAGE_AT_MOST, 20


class Domains(Parts):
    """Questions about what runs."""

    async def list_domains(self, _caller: Caller, options: Options) -> list[Row]:
        """Return the domains of processes and of live sockets, in order, a page of them."""
        check_options(options, _RUNNING)
        page = page_of(options)
        only = options.get("domain")
        running = await self._processes.running()
        state = self._reconciler.stored.state
        grants = Counter(grant.domain for grant in state.grants)
        connections = CONNECTIONS_OF_EACH if only is None else CONNECTIONS_OF_ONE
        chosen = [one for one in running if only in (None, one.domain)]
        return [
            {
                **running_row(one, grants[one.domain], connections),
                "fenced": state.fence_of(one.domain) is not None,
            }
            for one in chosen[page]
        ]
