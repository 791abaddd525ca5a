"""Demonstrations in a guest with a real SELinux kernel; `make demo` runs them."""
