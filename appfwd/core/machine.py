"""What the compiler must know of this machine."""

from __future__ import annotations

from dataclasses import dataclass

from appfwd.core.baseline import Baseline
from appfwd.model.policy import KernelContexts, LoadedPolicy
from appfwd.model.services import Interval


@dataclass(frozen=True)
class Machine:
    """The loaded policy and other facts.

    ``ephemeral`` is the range of local ports that clients get (ip_local_port_range, ip(7));
    ``baseline`` are the labels that the policy itself has for every port (a function of it, kept
    beside it since it takes some milliseconds).
    """

    policy: LoadedPolicy
    contexts: KernelContexts
    ephemeral: Interval
    baseline: Baseline
