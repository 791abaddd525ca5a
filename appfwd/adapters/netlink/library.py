"""pyroute2 without the start of its package, which imports every tool of it, a web server too."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

#: linux/netlink.h.
NETLINK_NETFILTER = 12


def library(module: str) -> Any:
    """Import a module of pyroute2 without running the package's ``__init__``."""
    if "pyroute2" not in sys.modules:
        spec = importlib.util.find_spec("pyroute2")
        if spec is None:
            raise ModuleNotFoundError(name="pyroute2")
        sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"pyroute2.{module}")
