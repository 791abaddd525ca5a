"""Tests that need a real kernel: they run in guests."""
