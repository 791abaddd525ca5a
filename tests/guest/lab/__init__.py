"""The test lab: guests with a real kernel, SELinux enforcing, nftables, systemd and D-Bus.

A guest is restored from a snapshot in about a second, copy-on-write, so each test may have its own.
Standard library only. Start reading at `guest.Guest` and `store.base_snapshot`.
"""
