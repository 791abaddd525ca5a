"""Benchmarks in a guest; `make bench` prints their figures. No test depends on them."""
