"""Unlabelled traffic, from the kernel's records of what passes under observation."""

from __future__ import annotations

from appfwd.core.avc import PacketRecord, observation_of
from appfwd.listening.gatherer import Gatherer


class Observer(Gatherer):
    """Gathers what was let pass without a label of its own."""

    def take(self, record: PacketRecord) -> None:
        """Count a record; one that tells of no unlabelled traffic is passed by."""
        observation = observation_of(record)
        if observation is not None:
            self.gather(observation, 1, record.time, record.time)
