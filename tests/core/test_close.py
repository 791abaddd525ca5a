"""Grants that end while a policy is loaded: the table is closed in between, and nothing opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from appfwd.core.plan import ApplyTable, LoadModule, plan, table_alone
from appfwd.core.stages import stages
from appfwd.core.verify import verify
from appfwd.model.fence import Fence, Kept
from appfwd.model.state import DesiredState, Grant
from tests.core import reference
from tests.core.kernelmodel import KernelModel
from tests.core.reference import Point
from tests.core.samples import UNLABELED, make_policy, points_of
from tests.core.stories import point, state_of
from tests.core.test_plan import Change, changes, steps_to, wanted_of

_SUBSETS = st.integers(0, 2**16 - 1)


def without(state: DesiredState, over: frozenset[Grant]) -> DesiredState:
    return replace(state, grants=state.grants - over)


class Story:
    """A kernel on its way from one state to another, with grants that end during its loads."""

    def __init__(self, change: Change, ending: Callable[[DesiredState], frozenset[Grant]]) -> None:
        self.old, self.new, self._ending = change.old, change.new, ending
        self.kernel = change.start()
        self.closed = 0

    def run(self) -> Iterator[KernelModel]:
        """Yield the kernel after every step."""
        while True:
            for kernel in self._make():
                yield kernel.copy()
                if kernel is not self.kernel:
                    break
            else:
                return

    def _make(self) -> Iterator[KernelModel]:
        """Go all the way, or until overtaken: then the last one that is yielded is a copy."""
        at = self.old
        for state, how in stages(self.old, self.new):
            while steps := plan(
                self.kernel.snapshot(), wanted_of(state, self.kernel), UNLABELED, how
            ):
                for step in steps:
                    over = self._ending(at) if isinstance(step, LoadModule) else frozenset()
                    loading = step.module if isinstance(step, LoadModule) else None
                    if over and loading is not None:
                        wanted = wanted_of(without(at, over), self.kernel)
                        close = table_alone(self.kernel.snapshot(), wanted, loading)
                        if close is not None:
                            self.closed += 1
                            self.kernel.apply(close)
                            yield self.kernel
                            self.kernel.apply(step)
                            self.old = without(at, over)
                            self.new = without(self.new, over)
                            yield self.kernel.copy()
                            return
                    self.kernel.apply(step)
                    yield self.kernel
                    if isinstance(step, ApplyTable):
                        at = state


def plain(state: DesiredState) -> DesiredState:
    """Return a state that is in force, whose fences keep nothing that policy may not give."""
    fences = frozenset(replace(fence, kept=Kept()) for fence in state.fences)
    return replace(state, settings=replace(state.settings, active=True), fences=fences)


@given(changes(), st.data())
def test_nothing_is_open_that_neither_state_opens(change: Change, data: st.DataObject) -> None:
    """Whichever grants end in whichever load; and in the end the one rule holds without them."""

    def ending(state: DesiredState) -> frozenset[Grant]:
        grants = sorted(state.grants, key=repr)
        bits = data.draw(_SUBSETS) if grants else 0
        return frozenset(grant for n, grant in enumerate(grants) if bits >> n & 1)

    change = replace(change, old=plain(change.old), new=plain(change.new))
    points = points_of(change.old) + points_of(change.new)
    where = data.draw(st.lists(st.sampled_from(points), min_size=1, max_size=6))
    hold(Story(change, ending), change, where)


def test_two_grants_that_end_one_in_each_load_of_an_unfence() -> None:
    """The table is then of a state on the way, and not to be taken for the one at its beginning."""
    grants = (("a_t", "any"), ("a_t", "any/tcp"))
    fence = Fence("b_t", loopback=False, dns=False)
    old = replace(state_of(grants=grants), fences=frozenset({fence}))
    new = state_of("any", "in any", grants=grants[:1])
    policy = make_policy()
    story = Story(
        Change(old, new, policy, policy),
        lambda state: frozenset(sorted(state.grants, key=repr)[:1]),
    )
    hold(story, Change(old, new, policy, policy), [point("10.0.0.5:80/tcp"), point("10.0.0.5/gre")])
    assert story.closed


def hold(story: Story, change: Change, where: Sequence[Point]) -> None:
    """Hold that no step allows what neither state does, and that the last one is as asked for."""
    old, new = change.old, change.new
    begun = story.kernel.view()
    domains = sorted(change.after.domains - {"kernel_t"})
    may = {
        (domain, to): begun.allowed(domain, to)
        | reference.allowed(old, change.after, domain, to)
        | reference.allowed(new, change.after, domain, to)
        for domain in domains
        for to in where
    }
    for kernel in story.run():
        view = kernel.view()
        for (domain, to), most in may.items():
            assert view.allowed(domain, to) <= most, (domain, to)
    verify(story.kernel.snapshot(), wanted_of(story.new, story.kernel))
    assert steps_to(story.new, story.kernel) == ()
    view = story.kernel.view()
    for domain, to in may:
        expected = reference.allowed(story.new, change.after, domain, to)
        assert view.allowed(domain, to) == expected, (domain, to)
