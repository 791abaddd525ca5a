"""What is known of the machine: its policy, asked for anew after every policy load."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from appfwd.core.baseline import Baseline, baseline_of
from appfwd.core.machine import Machine
from appfwd.model.policy import LoadedPolicy
from appfwd.model.slots import Switches, switched
from appfwd.ports import Host, PolicyReader, Selinux


class Machines:
    """Answers what the compiler must know, from what it remembers where that still holds."""

    def __init__(self, policy: PolicyReader, selinux: Selinux, host: Host) -> None:
        self._reader, self._selinux, self._host = policy, selinux, host
        self._known: tuple[int, LoadedPolicy, Baseline] | None = None
        self._reading = asyncio.Lock()

    async def policy(self) -> LoadedPolicy:
        """Return what the loaded policy says."""
        return (await self._now())[0]

    async def machine(self) -> Machine:
        """Return what the compiler must know."""
        contexts = self._selinux.contexts()
        policy, baseline = await self._now()
        return Machine(policy, contexts, self._host.ephemeral_ports(), baseline)

    async def set_booleans(self, values: Mapping[str, bool]) -> tuple[int, int]:
        """Commit booleans of slots; return the counts of policy loads before and after.

        What was known still is, but for them, unless something else came in between.

        Raises:
            PolicyLoadFailed: none is set.

        """
        async with self._reading:
            before = self._selinux.policy_load()
            await asyncio.to_thread(self._selinux.set_booleans, values)
            after = self._selinux.policy_load()
            if self._known is not None and (self._known[0], after) == (before, before + 1):
                _, policy, baseline = self._known
                self._known = after, _with(policy, values), baseline
        return before, after

    async def _now(self) -> tuple[LoadedPolicy, Baseline]:
        async with self._reading:
            load = self._selinux.policy_load()
            if self._known is None or self._known[0] != load:
                policy = await self._reader.read()
                self._known = (load, policy, baseline_of(policy))
            return self._known[1:]


def _with(policy: LoadedPolicy, values: Mapping[str, bool]) -> LoadedPolicy:
    """Return a policy with booleans of its slots set."""
    on = switched({slot: one.on for slot, one in policy.switches.items()}, values)
    nobody = frozenset[str]()
    switches = {
        slot: Switches(one.members, on.get(slot, nobody)) for slot, one in policy.switches.items()
    }
    return replace(policy, switches=switches)
