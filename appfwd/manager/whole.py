"""Requests about the whole desired state: plan a change of it, apply a document, export one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from appfwd.core.effects import effects
from appfwd.errors import InvalidArgument, shown
from appfwd.manager.changes import Asked, Changes
from appfwd.manager.documents import change_of, parsed
from appfwd.manager.parts import Options, Row
from appfwd.manager.planned import effects_part, kernel_part, state_part
from appfwd.model.options import check_options
from appfwd.model.whole import document_text
from appfwd.ports import Caller

_WORDS = {"on": True, "off": False}


class Whole(Changes):
    """The desired state as one thing."""

    async def plan(
        self, _caller: Caller, method: str, arguments: Sequence[str], options: Options
    ) -> Row:
        """Say what a call of ``method`` would do; nothing is changed.

        Raises:
            InvalidArgument: it is not a method that changes the desired state, or takes others.
            AppfwdError: the call itself would be refused with the same error.

        """
        async with self._one_plan():  # anybody may ask, and it costs as a change does
            asked = await self._asked(method, arguments, options)
            machine = await self._kernel.machine()
            before = self._reconciler.stored.state
            after = await asyncio.to_thread(asked.change, before)
            foresight = await self._kernel.foresee(before, after)

            begun = self._reconciler.begun(after)
            ends = self._reconciler.ends(before), self._reconciler.ends(begun)

            def rows() -> Row:
                return {
                    **state_part(before, begun, *ends),
                    **effects_part(effects(before, after, machine)),
                    **kernel_part(foresight, machine.contexts),
                }

            return await asyncio.to_thread(rows)

    async def apply(self, caller: Caller, document: str, options: Options) -> Row:
        """Make the desired state what a document says; return what came and what went.

        Raises:
            InvalidDocument: naming line and column of what is wrong; nothing was changed.
            AppfwdError: nothing was changed.

        """
        asked = await self._asked("Apply", [document], options)
        before = self._reconciler.stored.state
        after = (await self._submit(asked, caller)).state
        return {
            "added": len(after.beyond(before)),
            "removed": len(before.beyond(after)),
        }

    async def export(self, _caller: Caller, options: Options) -> str:
        """Return the document that :meth:`apply` makes the present desired state of."""
        check_options(options, {})
        return await asyncio.to_thread(document_text, self._reconciler.stored.state)

    async def _asked(self, method: str, arguments: Sequence[str], options: Options) -> Asked:
        known = self._plannable()
        if method not in known:
            names = ", ".join(known)
            msg = f"What can be planned is one of {names}, not {shown(method)}."
            raise InvalidArgument(msg)
        count, ask = known[method]
        if len(arguments) != count:
            msg = f"{method} is planned with {count} arguments, not {len(arguments)}."
            raise InvalidArgument(msg)
        return await ask(*arguments, options)

    def _plannable(self) -> Mapping[str, tuple[int, Callable[..., Awaitable[Asked]]]]:
        """Return how many arguments, but for its options, each method has, and what it comes to."""
        return {
            "Grant": (2, self.asked_grant),
            "Revoke": (2, self.asked_revoke),
            "Guard": (1, self.asked_guard),
            "Unguard": (1, self.asked_unguard),
            "Fence": (1, self.asked_fence),
            "Unfence": (1, self.asked_unfence),
            "SetBridge": (1, self.asked_bridge),
            "SetBaseline": (1, self._asked_baseline_word),
            "Apply": (1, self._asked_apply),
            "Up": (0, self._asked_up),
            "Down": (0, self._asked_down),
        }

    async def _asked_baseline_word(self, word: str, options: Options) -> Asked:
        if word not in _WORDS:
            msg = f"The baseline is planned 'on' or 'off', not {shown(word)}."
            raise InvalidArgument(msg)
        return await self.asked_baseline(options, on=_WORDS[word])

    async def _asked_up(self, options: Options) -> Asked:
        return self.asked_active(options, active=True)

    async def _asked_down(self, options: Options) -> Asked:
        return self.asked_active(options, active=False)

    async def _asked_apply(self, text: str, options: Options) -> Asked:
        check_options(options, {})
        self._hold_active()
        machine = await self._kernel.machine()
        document = await parsed(text, machine, self._reconciler.stored.state)
        if document.baseline:
            await self._hold_baseline()
        return Asked(await change_of(document, machine, self._reconciler.is_over))
