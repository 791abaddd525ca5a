"""What is foreseen of a change is what is then done, step by step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given

from appfwd.core.audience import kept_by
from appfwd.core.compiler import Artefacts, compile_state
from appfwd.core.effects import unfenced
from appfwd.core.foresight import Foresight, foresee
from appfwd.core.module import module_text
from appfwd.core.plan import Snapshot
from appfwd.core.pool import assigned
from appfwd.model.policy import LoadedPolicy
from appfwd.model.state import DesiredState
from tests.core.kernelmodel import KernelModel
from tests.core.samples import CONTEXTS, UNLABELED, make_policy, policies, states
from tests.core.stories import state_of
from tests.core.test_fences import bring, stepwise


def foreseen(kernel: KernelModel, before: DesiredState, after: DesiredState) -> Foresight:
    machine = kernel.machine()

    def compiled(state: DesiredState, at: Snapshot) -> Artefacts:
        fences = (fence for fence in before.fences if not after.fence_of(fence.domain))
        going = (fence for fence in fences if fence.domain not in at.module.fenced)
        return assigned(compile_state(state, unfenced(machine, going)), at, CONTEXTS)

    return foresee(kernel.snapshot(), before, after, compiled, UNLABELED)


def true_to(policy: LoadedPolicy, state: DesiredState) -> DesiredState:
    """Return the state with fences that keep what policy lets their domains do."""
    machine = KernelModel(policy).machine()
    fences = (replace(fence, kept=kept_by(fence.domain, machine)) for fence in state.fences)
    return replace(state, fences=frozenset(fences))


@given(states(), states(), policies())
def test_the_steps_are_those_that_are_done(
    before: DesiredState, after: DesiredState, policy: LoadedPolicy
) -> None:
    before, after = true_to(policy, before), true_to(policy, after)
    kernel = KernelModel(policy)
    bring(kernel, before)
    found = foreseen(kernel, before, after)
    assert list(found.steps) == list(stepwise(kernel, before, after))
    assert found.after == kernel.snapshot()


def test_nothing_foreseen_changes_nothing() -> None:
    kernel, state = KernelModel(make_policy()), state_of("10.0.0.5")
    bring(kernel, state)
    was = kernel.copy()
    later = state_of("10.0.0.5", "10.0.0.6")
    assert foreseen(kernel, state, state).steps == ()
    assert foreseen(kernel, state, later).steps != ()
    assert (kernel.module, kernel.nft) == (was.module, was.nft)


def test_policy_lines_turn_one_module_into_the_other() -> None:
    kernel, state = KernelModel(make_policy()), state_of("10.0.0.5")
    bring(kernel, state)
    later = state_of("10.0.0.5", grants=(("a_t", "10.0.0.5"),))
    found = foreseen(kernel, state, later)
    lines = Counter(module_text(found.before.module, CONTEXTS).splitlines())
    for line in found.policy_lines(CONTEXTS):
        lines[line[2:]] += 1 if line[0] == "+" else -1
    assert lines == Counter(module_text(found.after.module, CONTEXTS).splitlines())
    assert found.policy_loads == 1
    assert len(found.transactions) == 1
