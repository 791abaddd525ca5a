"""Netlink, which pyroute2 reads and writes for us: announcements, and elements of maps."""
