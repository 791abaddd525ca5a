"""Streams that fail in ways which a test of the whole program cannot bring about."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from appfwd.cli.console import ask


class _Orphan:
    """The terminal of a process group that nobody leads: there is input, and it is not ours."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        raise OSError(5, "Input/output error")


def test_an_answer_that_cannot_be_read_is_a_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"y\n")
    monkeypatch.setattr(sys, "stdin", _Orphan(ours))
    assert not asyncio.run(ask("Go on?"))
    assert capsys.readouterr().err == "Go on? [y/N] "
    os.close(ours)
    os.close(theirs)
