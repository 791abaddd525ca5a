"""The one writer: takes the changes that wait as one batch and makes the kernel follow.

Nothing else in the daemon writes to the kernel or the store. A batch is compiled, planned against
what the kernel has now, applied, read back and verified, and made durable; only then do its
callers get their reply. Where anything fails the old state is put back and the callers get the
error. A batch that fails is tried again one change at a time, so that one bad change takes no
other with it. What is on trial and was not confirmed in time is taken back the same way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from appfwd.errors import AppfwdError, Busy, Unavailable
from appfwd.kernel import Kernel, Overtaken
from appfwd.model.changes import Change, end_grants_at, end_these, end_trials, end_trials_at
from appfwd.model.ends import End, Finish, Moment, Session, WithBoot, WithSession
from appfwd.model.state import DesiredState, Grant, Member, Trial, describe, place
from appfwd.ports import Store, Stored
from appfwd.stopwatch import Stopwatch

log = logging.getLogger(__name__)

#: Changes that may wait at once; more are refused, so that callers cannot fill memory.
WAITING_AT_MOST = 10_000
#: Seconds between looks at the clock while something is on trial: timers stand still while the
#: machine is suspended, the clock that counts does not.
_LOOK = 5.0
#: The same while grants have ends, which may be times of day or sessions, and hold to the second.
_LOOK_ENDS = 0.5
#: The same while nothing can end before the machine does.
_LOOK_NOTHING = 3600.0
#: Seconds after which taking back is tried again where it failed.
_AGAIN = 30.0


@dataclass
class _Waiting:
    change: Change
    uid: int
    done: asyncio.Future[Stored]
    ready: frozenset[Grant] = frozenset()


class Reconciler:
    """Owns the desired state; see the module's text."""

    def __init__(
        self,
        kernel: Kernel,
        store: Store,
        clock: Callable[[], Moment],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._kernel, self._store, self._clock, self._now = kernel, store, clock, now
        self._serving = asyncio.Lock()
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING_AT_MOST)
        self._stored = Stored(DesiredState())
        self._failed_until = 0.0
        self.problem: AppfwdError | None = None
        self.on_change: Callable[[Stored, Stored], Awaitable[None]] = _nobody
        #: What must be done before the kernel or the store changes.
        self.before_change: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
        #: Told of each state that is in force, verified and stored.
        self.on_settled: Callable[[DesiredState], None] = lambda _state: None
        self.on_reverted: Callable[[Sequence[Trial]], None] = lambda _trials: None

    @property
    def stored(self) -> Stored:
        """The desired state that is in force and durable, with its records."""
        return self._stored

    async def restore(self) -> None:
        """Read the store and make the kernel what it says, touching only what differs.

        What was on trial, and over before we came, is taken back first, and grants whose end came
        are ended. A kernel that cannot be
        brought there is left as it is, and :attr:`problem` says why.

        Raises:
            StoreFailed: the desired state cannot be read.

        """
        stopwatch = self._kernel.stopwatch = Stopwatch()
        with stopwatch.stage("stored"):
            self._stored = await self._store.load()
        before = self._stored
        state = self._due()(before.state).begun(self._clock(), self._now())
        try:
            await self._kernel.make(state)
            if state != before.state:
                self._stored = await self._store.save(state, self._now(), {})
                self._tell_reverted(before.state)
                self._tell_ended(before.state)
            self.problem = None
            self.on_settled(self._stored.state)
            log.debug("restored: %s", stopwatch)
        except AppfwdError as error:
            self.problem = error
            log.error("could not restore the stored state: %s", error)

    async def submit(
        self, change: Change, uid: int, ready: frozenset[Grant] = frozenset()
    ) -> Stored:
        """Queue ``change``; return once it is in force and durable.

        What the grants ``ready`` would need of the policy is loaded with it.

        Raises:
            Busy: too many changes wait.
            AppfwdError: whatever the change or the kernel refused; nothing changed.

        """
        done: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Waiting(change, uid, done, ready))
        except asyncio.QueueFull:
            msg = "Too many changes wait already; try again in a moment."
            raise Busy(msg) from None
        return await done

    async def refresh(self) -> None:
        """Make the kernel what the desired state says, after others may have changed it.

        Raises:
            AppfwdError: that failed; :attr:`problem` says why until a change or refresh succeeds.

        """
        try:
            await self.submit(lambda state: state, 0)
        except AppfwdError as error:
            self.problem = error
            raise

    async def prepare(self, grants: frozenset[Grant]) -> None:
        """Have the policy loaded that ``grants`` would need, so that each is in force at once.

        Raises:
            AppfwdError: it could not be; a grant loads it then.

        """
        await self.submit(lambda state: state, 0, grants)

    async def run(self) -> None:
        """Serve the queue until cancelled; callers that wait then are told so."""
        batch: list[_Waiting] = []
        try:
            while True:
                first = await self._next()
                if first is None:
                    async with self._serving:
                        await self._take_back(self._due())
                    continue
                batch = [first]
                while not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                async with self._serving:
                    await self._serve(batch)
        finally:
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            _fail(batch, Unavailable("The daemon is stopping; the change was not made."))

    @asynccontextmanager
    async def resting(self) -> AsyncIterator[None]:
        """Wait until the change under way is done, and begin no other meanwhile."""
        async with self._serving:
            yield

    async def take_back_all(self) -> None:
        """Take back whatever is on trial: it does not outlive the daemon.

        Raises:
            AppfwdError: it could not be; the next start tries again.

        """
        if self._stored.state.trials:
            log.warning("taking back what is on trial, since the daemon stops")
            await self.submit(end_trials(lambda _trial: True), 0)

    def deadline(self) -> float:
        """Return when the next trial is taken back, as Unix time; 0 where there is none."""
        end, now = self._stored.state.next_trial(), self._clock()
        return 0.0 if end is None else float(round(self._now() + end.seconds - now.seconds))

    def ends(self, state: DesiredState | None = None) -> Mapping[Member, Finish]:
        """Return when each grant that ends does.

        Of a ``state`` that is not in force, as if it came into force now.
        """
        now, wall = self._clock(), self._now()
        endings = (state or self._stored.state).endings
        return {
            e.grant: Finish(
                wall + e.end.left(now, wall),
                e.end.session.id if isinstance(e.end, WithSession) else "",
            )
            for e in endings
        }

    def begun(self, state: DesiredState) -> DesiredState:
        """Return a state with its trials and ends as if it came into force now."""
        return state.begun(self._clock(), self._now())

    def is_over(self, end: End) -> bool:
        """Tell whether an end has come."""
        return end.left(self._clock(), self._now()) <= 0

    def session(self, name: str) -> Session | None:
        """Return the login session that has an id now."""
        return next((one for one in self._clock().sessions if one.id == name), None)

    def _due(self) -> Change:
        """Return the change that takes back and ends whatever is over now."""
        now, wall = self._clock(), self._now()
        trials, grants = end_trials_at(now), end_grants_at(now, wall, self._ids())
        return lambda state: grants(trials(state))

    async def _next(self) -> _Waiting | None:
        """Return the next change that waits; None where something is over, which comes first."""
        while True:
            wait = self._seconds_to_end()
            if wait <= 0:
                return None
            try:
                async with asyncio.timeout(min(wait, self._look())):
                    return await self._queue.get()
            except TimeoutError:
                continue

    def _look(self) -> float:
        """Return after how many seconds the clocks, and who is logged in, are looked at again."""
        state = self._stored.state
        if not all(isinstance(ending.end, WithBoot) for ending in state.endings):
            return _LOOK_ENDS
        return _LOOK if state.trials else _LOOK_NOTHING

    def _seconds_to_end(self) -> float:
        now = self._clock()
        left = self._stored.state.seconds_left(now, self._now())
        return max(left, self._failed_until - now.seconds)

    async def _take_back(self, change: Change) -> None:
        before = self._stored.state
        entry = _Waiting(change, 0, asyncio.get_running_loop().create_future())
        await self._serve([entry])
        error = entry.done.exception()
        if error is not None:
            self._failed_until = self._clock().seconds + _AGAIN
            log.critical("could not take back or end what is over: %s", error)
            self.problem = error if isinstance(error, AppfwdError) else self.problem
            return
        reverted = self._tell_reverted(before)
        if reverted:
            self.on_reverted(reverted)

    def _tell_reverted(self, before: DesiredState) -> Sequence[Trial]:
        """Write to the journal what was taken back; return the trials."""
        reverted = sorted(before.trials - self._stored.state.trials, key=repr)
        for trial in reverted:
            log.warning("taken back, since nobody confirmed it in time: %s", describe(trial))
        return reverted

    def _tell_ended(self, before: DesiredState) -> None:
        for one in self._stored.state.ended - before.ended:
            log.info(
                "ended: grant %s: %s, %s", one.id, one.grant.domain, place(one.grant.destination)
            )

    async def _serve(self, batch: Sequence[_Waiting]) -> None:
        batch = [entry for entry in batch if not entry.done.done()]
        try:
            await self._commit(batch)
        except AppfwdError as error:
            if len(batch) > 1:
                for entry in batch:
                    await self._serve([entry])
                return
            _fail(batch, error)
        except Exception as error:  # the writer must live on, whatever one batch met
            log.exception("a change failed in an unforeseen way")
            msg = "The change failed in an unforeseen way; the journal of appfwd has details."
            _fail(batch, AppfwdError(msg), cause=error)

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        old = self._stored
        stopwatch = self._kernel.stopwatch = Stopwatch()
        state, owners, taken = old.state, {}, []
        for entry in batch:
            try:
                following = entry.change(state)
            except AppfwdError as error:
                _fail([entry], error)
                continue
            for member in following.beyond(state):
                owners[member] = entry.uid
            state = following
            taken.append(entry)
        if not taken:
            return
        ready = frozenset[Grant]().union(*(entry.ready for entry in taken))
        state = await self._make_or_roll_back(state, old.state, ready)
        state = state.begun(self._clock(), self._now())
        if state != old.state:
            try:
                with stopwatch.stage("store"):
                    self._stored = await self._store.save(state, self._now(), owners)
            except BaseException:
                await self._roll_back(old.state)
                raise
        self.problem = None
        self.on_settled(self._stored.state)
        self._tell_ended(old.state)
        try:  # before the replies, so that who called was told of it by then
            with stopwatch.stage("announce"):
                await self.on_change(old, self._stored)
        except Exception:  # the change is in force and durable, whoever could not be told
            log.exception("a change could not be announced")
        finally:
            for entry in taken:
                if not entry.done.done():
                    entry.done.set_result(self._stored)
            log.debug("%d changes: %s", len(taken), stopwatch)

    async def _make_or_roll_back(
        self, state: DesiredState, old: DesiredState, ready: frozenset[Grant]
    ) -> DesiredState:
        """Bring the kernel to ``state``, or back to ``old``; return what it is in then.

        That is ``state`` less the grants whose end came meanwhile.
        """
        before = None if state == old else old
        if before is not None:
            await self.before_change()
        while True:
            making = asyncio.create_task(self._kernel.make(state, before, ready))
            try:
                while not making.done():
                    await asyncio.wait({making}, timeout=_LOOK_ENDS if old.endings else None)
                    over = frozenset() if making.done() else self._over(state, old)
                    if over:  # else nothing is looked for among thousands of records
                        ended = end_these(over, self._now(), self._ids())
                        if await self._closed(ended):
                            state, old = ended(state), ended(old)
                await making
            except Overtaken:
                before = self._kernel.table_of
            except BaseException:
                making.cancel()
                await asyncio.gather(making, return_exceptions=True)
                if state != old:
                    await self._roll_back(old)
                raise
            else:
                return state

    def _over(self, state: DesiredState, old: DesiredState) -> frozenset[Grant]:
        """Return the grants of ``old`` whose end has come, and which ``state`` gives no other."""
        return frozenset(
            ending.grant
            for ending in old.endings
            if (ending in state.endings or ending.grant not in state.grants)
            and self.is_over(ending.end)
        )

    async def _closed(self, ended: Change) -> bool:
        try:
            return await self._kernel.close(ended)
        except AppfwdError as error:
            log.warning("what is over could not be ended at once: %s", error)
            return False

    def _ids(self) -> Mapping[Grant, str]:
        return {m: r.id for m, r in self._stored.records.items() if isinstance(m, Grant)}

    async def _roll_back(self, old: DesiredState) -> None:
        try:
            await self._kernel.make(old)
            self.on_settled(self._stored.state)
        except AppfwdError as error:
            self.problem = error
            log.critical("could not put the old state back: %s", error)


async def _nobody(_old: Stored, _new: Stored) -> None:
    """Tell nobody of a change."""


def _fail(
    entries: Sequence[_Waiting], error: AppfwdError, cause: BaseException | None = None
) -> None:
    error.__cause__ = cause
    for entry in entries:
        if not entry.done.done():
            entry.done.set_exception(error)
