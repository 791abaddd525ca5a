"""The kernel's records of packets: heard, and gathered into observations and denials."""
