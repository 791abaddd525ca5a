"""From the text of a document to the change that it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from appfwd.core.machine import Machine
from appfwd.errors import AppfwdError
from appfwd.manager.parts import fence_of
from appfwd.model.changes import Change
from appfwd.model.document import Document, Problem, parse_document, reject
from appfwd.model.ends import End
from appfwd.model.fence import Fence
from appfwd.model.state import DesiredState
from appfwd.model.whole import become, settled


async def parsed(text: str, machine: Machine, state: DesiredState) -> Document:
    """Return a document, its domains by the names that the policy has for them.

    It is read beside the event loop: one of 100,000 grants takes a second.

    Raises:
        InvalidDocument: with line and column of what is wrong.

    """
    return await asyncio.to_thread(lambda: settled(parse_document(text), machine.policy, state))


async def change_of(document: Document, machine: Machine, over: Callable[[End], bool]) -> Change:
    """Return the change that makes the state what a document says; see ``become`` for ``over``.

    Raises:
        InvalidDocument: it fences what cannot be fenced.

    """
    return await asyncio.to_thread(_change_of, document, machine, over)


def _change_of(document: Document, machine: Machine, over: Callable[[End], bool]) -> Change:
    fences: list[Fence] = []
    for fence, path in document.fences.items():
        spared = {"loopback": fence.loopback, "dns": fence.dns}
        try:
            fences.append(fence_of(fence.domain, spared, machine))
        except AppfwdError as error:
            reject(document.text, [Problem(path, error)])
    return become(document, fences, over)
