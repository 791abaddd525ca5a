"""Answers taken apart again."""

from __future__ import annotations

from typing import Any

from appfwd.cli.render import render


def cells(kind: str, *rows: dict[str, Any]) -> list[list[str]]:
    """Return the cells of each row as programs get them."""
    return [line.split("\t") for line in render(kind, rows, terminal=False).splitlines()]
