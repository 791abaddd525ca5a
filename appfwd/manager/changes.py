"""Requests that change the desired state."""

from __future__ import annotations

from appfwd.errors import InvalidArgument, InvalidOption, PolicyUnsupported, shown
from appfwd.manager.parts import Options, Parts, destination_of
from appfwd.model.changes import (
    Change,
    add_grant,
    add_guard,
    confirm,
    remove_grant,
    remove_guard,
    set_active,
    set_baseline,
    set_bridge,
)
from appfwd.model.domain import parse_domain
from appfwd.model.options import check_options
from appfwd.model.state import Bridge, Grant, Guard
from appfwd.ports import Caller

#: Seconds that something can be on trial for, at the most.
TRIAL_AT_MOST = 86_400
_FOR = {"for": int}


class Changes(Parts):
    """Grants, guards and settings."""

    async def grant(self, caller: Caller, domain: str, destination: str, options: Options) -> str:
        """Open ``destination`` to ``domain``; return the grant's id.

        Raises:
            AppfwdError: nothing was changed.

        """
        grant = Grant(await self._domain(domain), destination_of(destination, options))
        return await self._add(grant, add_grant(grant), caller)

    async def revoke(self, caller: Caller, domain: str, destination: str, options: Options) -> None:
        """Take a grant away. The domain need not be in the policy any more.

        Raises:
            NotFound: there is no such grant.
            AppfwdError: nothing was changed.

        """
        place, name = destination_of(destination, options), parse_domain(domain)
        aliases = (await self._kernel.policy()).aliases
        grant = Grant(aliases.get(name, name), place)
        await self._reconciler.submit(remove_grant(grant), caller.uid)

    async def guard(self, caller: Caller, destination: str, options: Options) -> str:
        """Shut ``destination`` to all but those granted; return the guard's id.

        Raises:
            AppfwdError: nothing was changed.

        """
        guard = Guard(destination_of(destination, options, _FOR))
        return await self._add(guard, add_guard(guard, self._trial(options)), caller)

    async def unguard(self, caller: Caller, destination: str, options: Options) -> None:
        """Take a guard away.

        Raises:
            NotFound: there is no such guard.
            AppfwdError: nothing was changed.

        """
        guard = Guard(destination_of(destination, options))
        await self._reconciler.submit(remove_guard(guard), caller.uid)

    async def set_bridge(self, caller: Caller, mode: str, options: Options) -> None:
        """Open, observe or close the bridge for unlabelled packets.

        Raises:
            InvalidArgument: no such mode.
            AppfwdError: nothing was changed.

        """
        check_options(options, {"strict": bool, **_FOR})
        bridge, strict = parse_bridge(mode), bool(options.get("strict", False))
        if strict and bridge is not Bridge.CLOSED:
            msg = "Option 'strict' goes with the mode 'closed' alone."
            raise InvalidOption(msg)
        change = set_bridge(bridge, strict=strict, trial=self._trial(options))
        await self._reconciler.submit(change, caller.uid)

    async def set_baseline(self, caller: Caller, enabled: bool, options: Options) -> None:  # noqa: FBT001
        """Label every port with the policy's own packet types, or no longer.

        Raises:
            PolicyUnsupported: the policy has none to label with.
            AppfwdError: nothing was changed.

        """
        check_options(options, _FOR)
        trial = self._trial(options)
        if enabled:
            baseline = (await self._kernel.machine()).baseline
            if not baseline:
                raise PolicyUnsupported(" ".join(baseline.report))
        await self._reconciler.submit(set_baseline(on=enabled, trial=trial), caller.uid)

    async def confirm(self, caller: Caller, options: Options) -> int:
        """Make what is on trial permanent; return how many changes that were.

        Raises:
            NotFound: nothing is on trial.

        """
        check_options(options, {})
        waiting = len(self._reconciler.stored.state.trials)
        await self._reconciler.submit(confirm(), caller.uid)
        return waiting

    async def up(self, caller: Caller, options: Options) -> None:
        """Bring the desired state back into the kernel after :meth:`down`."""
        check_options(options, {})
        await self._reconciler.submit(set_active(active=True), caller.uid)

    async def down(self, caller: Caller, options: Options) -> None:
        """Take table and module out of the kernel; the desired state stays stored."""
        check_options(options, {})
        await self._reconciler.submit(set_active(active=False), caller.uid)

    async def _add(self, member: Grant | Guard, change: Change, caller: Caller) -> str:
        self._hold_active()
        stored = await self._reconciler.submit(change, caller.uid)
        return stored.records[member].id

    def _trial(self, options: Options) -> float | None:
        """Return for how many seconds a change is on trial; None where it is for good."""
        seconds = options.get("for")
        if seconds is None:
            return None
        assert isinstance(seconds, int)  # noqa: S101 - held by check_options
        if not 0 < seconds <= TRIAL_AT_MOST:
            msg = f"Option 'for' is a number of seconds, from 1 to {TRIAL_AT_MOST}."
            raise InvalidOption(msg)
        self._hold_active()
        return float(seconds)


def parse_bridge(mode: str) -> Bridge:
    """Return the mode of the bridge that a word names.

    Raises:
        InvalidArgument: it names none.

    """
    try:
        return Bridge(mode)
    except ValueError:
        msg = f"The bridge is 'open', 'observed' or 'closed', not {shown(mode)}."
        raise InvalidArgument(msg) from None
