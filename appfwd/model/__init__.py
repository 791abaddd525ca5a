"""Frozen values and their grammar: what a user asks for. No I/O."""
