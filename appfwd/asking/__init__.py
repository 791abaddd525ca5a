"""Persons are asked about denials, and answer."""
