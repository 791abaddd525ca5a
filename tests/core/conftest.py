"""Settings for hypothesis: repeatable, without a clock and without a database on disk."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=40,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=_SLOW,
)
settings.register_profile(
    "search",
    deadline=None,
    database=None,
    max_examples=800,
    suppress_health_check=_SLOW,
)
settings.load_profile(os.environ.get("APPFWD_HYPOTHESIS", "repeatable"))
