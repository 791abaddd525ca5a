"""What the kernel is asked for of slots: those who shall have them do, and nobody else."""

from __future__ import annotations

import asyncio

from appfwd.kernel import Kernel
from appfwd.model.policy import Rights
from appfwd.model.slots import is_slot
from tests.core.fakes import FakeKernel
from tests.core.samples import baseline_policy, make_policy
from tests.core.stories import state_of


def test_what_the_kernel_needs_of_a_slot_is_no_use_by_a_member_whose_boolean_is_off() -> None:
    """Its domain may have a grant and be enrolled, or receive by a label and be of a group."""
    some = (("a_t", "10.0.0.1:80/tcp"), ("b_t", "10.0.0.2:80/tcp"))
    more = (*some, ("a_t", "10.0.0.2:80/tcp"))
    one = frozenset({"c_t"})
    labels = baseline_policy(
        p_client_packet_t=Rights.both(one), client_packet_t=Rights.both(one | {"kernel_t"})
    )
    for policy, before, after in (
        (
            make_policy(),
            state_of("10.0.0.0/24", grants=(*some, ("kernel_t", "10.0.0.3"))),
            state_of("10.0.0.0/24", grants=(*more, ("kernel_t", "10.0.0.3"))),
        ),
        (labels, state_of(grants=some, baseline=True), state_of(grants=more, baseline=True)),
    ):
        machine = FakeKernel(policy)
        kernel = Kernel(machine.adapters())
        for state in (before, after):
            asyncio.run(kernel.make(state))
        table = machine.model.snapshot().table
        assert table is not None
        assert any(is_slot(table.type_of(name)) for name in table.contexts)
