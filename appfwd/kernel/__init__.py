"""The kernel's side: what of a desired state is in policy and nftables, and how it comes there."""

from appfwd.kernel.kernel import Adapters, Kernel, Overtaken

__all__ = ["Adapters", "Kernel", "Overtaken"]
