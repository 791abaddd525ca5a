"""appfwd: SELinux policy and nftables labels kept in step, as one application firewall."""

__version__ = "0.1.0"
