"""Requests that change the desired state."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from appfwd.errors import InvalidArgument, InvalidOption, PolicyUnsupported, shown
from appfwd.manager.parts import FENCE, Options, Parts, destination_of, fence_of
from appfwd.model.changes import (
    Change,
    add_fence,
    add_grant,
    add_guard,
    confirm,
    remove_fence,
    remove_grant,
    remove_guard,
    set_active,
    set_baseline,
    set_bridge,
)
from appfwd.model.domain import parse_domain
from appfwd.model.ends import LAST_TIME, After, At, End, Session, WithBoot, WithSession
from appfwd.model.fence import Fence
from appfwd.model.options import check_options
from appfwd.model.state import Bridge, Grant, Guard, Member
from appfwd.ports import Caller, Stored

#: Seconds that something can be on trial for, at the most.
TRIAL_AT_MOST = 86_400
_FOR = {"for": int}
#: Seconds that a grant can last that ends: ten years.
GRANT_AT_MOST = 315_360_000
#: Options that end a grant.
ENDS = {"for": int, "until": float, "boot": bool, "session": str}


class Asked(NamedTuple):
    """What a request comes to: a change, and the member that it is about, where it adds one.

    Of a fence that is the fence as it would be were its domain not fenced yet.
    """

    change: Change
    member: Member | None = None


class Changes(Parts):
    """Grants, guards, fences and settings.

    A request is first made a change (``asked_...``), which can be planned as well as submitted.
    """

    async def grant(self, caller: Caller, domain: str, destination: str, options: Options) -> str:
        """Open ``destination`` to ``domain``, for good or until an end; return the grant's id.

        Raises:
            AppfwdError: nothing was changed.

        """
        return await self._add(await self.asked_grant(domain, destination, options), caller)

    async def asked_grant(self, domain: str, destination: str, options: Options) -> Asked:
        """Return what a grant comes to."""
        place = destination_of(destination, options, ENDS)
        end = end_of(options, self._reconciler.session)
        grant = Grant(await self._domain(domain), place)
        self._hold_active()
        return Asked(add_grant(grant, end), grant)

    async def revoke(self, caller: Caller, domain: str, destination: str, options: Options) -> None:
        """Take a grant away. The domain need not be in the policy any more.

        Raises:
            NotFound: there is no such grant.
            AppfwdError: nothing was changed.

        """
        await self._submit(await self.asked_revoke(domain, destination, options), caller)

    async def asked_revoke(self, domain: str, destination: str, options: Options) -> Asked:
        """Return what taking a grant away comes to."""
        place, name = destination_of(destination, options), parse_domain(domain)
        aliases = (await self._kernel.policy()).aliases
        return Asked(remove_grant(Grant(aliases.get(name, name), place)))

    async def guard(self, caller: Caller, destination: str, options: Options) -> str:
        """Shut ``destination`` to all but those granted; return the guard's id.

        Raises:
            AppfwdError: nothing was changed.

        """
        return await self._add(await self.asked_guard(destination, options), caller)

    async def asked_guard(self, destination: str, options: Options) -> Asked:
        """Return what a guard comes to."""
        guard = Guard(destination_of(destination, options, _FOR))
        self._hold_active()
        return Asked(add_guard(guard, self._trial(options)), guard)

    async def unguard(self, caller: Caller, destination: str, options: Options) -> None:
        """Take a guard away.

        Raises:
            NotFound: there is no such guard.
            AppfwdError: nothing was changed.

        """
        await self._submit(await self.asked_unguard(destination, options), caller)

    async def asked_unguard(self, destination: str, options: Options) -> Asked:
        """Return what taking a guard away comes to."""
        return Asked(remove_guard(Guard(destination_of(destination, options))))

    async def fence(self, caller: Caller, domain: str, options: Options) -> str:
        """Shut ``domain`` in: it reaches only what it is granted; return the fence's id.

        Raises:
            PolicyUnsupported: the policy toolchain has no deny rules.
            AppfwdError: nothing was changed.

        """
        return await self._add(await self.asked_fence(domain, options), caller)

    async def asked_fence(self, domain: str, options: Options) -> Asked:
        """Return what a fence comes to."""
        check_options(options, {**FENCE, **_FOR})
        self._hold_active()
        name = await self._domain(domain)
        fence = fence_of(name, options, await self._kernel.machine())
        return Asked(add_fence(fence, self._trial(options)), fence)

    async def unfence(self, caller: Caller, domain: str, options: Options) -> None:
        """Take a fence away. The domain need not be in the policy any more.

        Raises:
            NotFound: the domain is not fenced.
            AppfwdError: nothing was changed.

        """
        await self._submit(await self.asked_unfence(domain, options), caller)

    async def asked_unfence(self, domain: str, options: Options) -> Asked:
        """Return what taking a fence away comes to."""
        check_options(options, {})
        name = parse_domain(domain)
        aliases = (await self._kernel.policy()).aliases
        return Asked(remove_fence(aliases.get(name, name)))

    async def set_bridge(self, caller: Caller, mode: str, options: Options) -> None:
        """Open, observe or close the bridge for unlabelled packets.

        Raises:
            InvalidArgument: no such mode.
            AppfwdError: nothing was changed.

        """
        await self._submit(await self.asked_bridge(mode, options), caller)

    async def asked_bridge(self, mode: str, options: Options) -> Asked:
        """Return what a change of the bridge comes to."""
        check_options(options, {"strict": bool, **_FOR})
        bridge, strict = parse_bridge(mode), bool(options.get("strict", False))
        if strict and bridge is not Bridge.CLOSED:
            msg = "Option 'strict' goes with the mode 'closed' alone."
            raise InvalidOption(msg)
        return Asked(set_bridge(bridge, strict=strict, trial=self._trial(options)))

    async def set_baseline(self, caller: Caller, enabled: bool, options: Options) -> None:  # noqa: FBT001
        """Label every port with the policy's own packet types, or no longer.

        Raises:
            PolicyUnsupported: the policy has none to label with.
            AppfwdError: nothing was changed.

        """
        await self._submit(await self.asked_baseline(options, on=enabled), caller)

    async def asked_baseline(self, options: Options, *, on: bool) -> Asked:
        """Return what a change of the baseline comes to."""
        check_options(options, _FOR)
        trial = self._trial(options)
        if on:
            await self._hold_baseline()
        return Asked(set_baseline(on=on, trial=trial))

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
        await self._submit(self.asked_active(options, active=True), caller)

    async def down(self, caller: Caller, options: Options) -> None:
        """Take table and module out of the kernel; the desired state stays stored."""
        await self._submit(self.asked_active(options, active=False), caller)

    def asked_active(self, options: Options, *, active: bool) -> Asked:
        """Return what bringing all into the kernel, or out of it, comes to."""
        check_options(options, {})
        return Asked(set_active(active=active))

    async def _hold_baseline(self) -> None:
        baseline = (await self._kernel.machine()).baseline
        if not baseline:
            raise PolicyUnsupported(" ".join(baseline.report))

    async def _submit(self, asked: Asked, caller: Caller) -> Stored:
        return await self._reconciler.submit(asked.change, caller.uid)

    async def _add(self, asked: Asked, caller: Caller) -> str:
        stored = await self._submit(asked, caller)
        member = asked.member
        if isinstance(member, Fence):  # what it keeps may be known from before
            member = stored.state.fence_of(member.domain)
        assert member is not None  # noqa: S101 - the change added it
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


def end_of(options: Options, session: Callable[[str], Session | None]) -> End | None:
    """Return when a grant is to end; None for never. ``session`` gives the session of an id.

    Raises:
        InvalidOption: of several ends, or one that is no time or no open session.

    """
    if len(ENDS.keys() & options.keys()) > 1:
        msg = "Options 'for', 'until', 'boot' and 'session' exclude each other."
        raise InvalidOption(msg)
    seconds, until = options.get("for"), options.get("until")
    if isinstance(seconds, int):
        if not 0 < seconds <= GRANT_AT_MOST:
            msg = f"Option 'for' is a number of seconds, from 1 to {GRANT_AT_MOST}."
            raise InvalidOption(msg)
        return After(float(seconds))
    if isinstance(until, float):
        if not 0 <= until <= LAST_TIME:
            msg = "Option 'until' is a Unix time, in seconds."
            raise InvalidOption(msg)
        return At(until)
    name = options.get("session")
    if isinstance(name, str):
        found = session(name)
        if found is None:
            msg = (
                f"There is no open login session {shown(name)}; 'loginctl' lists them. (It takes "
                "systemd 254 or later to tell one from others that had its id.)"
            )
            raise InvalidOption(msg)
        return WithSession(found)
    return WithBoot() if options.get("boot") else None


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
