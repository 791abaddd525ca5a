"""Documents of the desired state, read from files; what is wrong is told with the file's name."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from appfwd.errors import AppfwdError, InvalidDocument, shown
from appfwd.model.document import DOCUMENT_AT_MOST, Document, parse_document

#: Bytes of the longest character in UTF-8.
_BYTES = 4


@dataclass(frozen=True)
class Source:
    """The text of a document and what people call where it is from."""

    name: str
    text: str

    def blame(self, error: InvalidDocument) -> InvalidDocument:
        """Return ``error`` with the file's name before each place."""
        return InvalidDocument("\n".join(f"{self.name}, {line}" for line in str(error).split("\n")))


def load(arguments: argparse.Namespace) -> None:
    """Read the ``file`` of a command that has one; it becomes its ``source``.

    Raises:
        AppfwdError: as for :func:`read`.

    """
    if "file" in arguments:
        arguments.source = read(arguments.file)


def read(path: str) -> Source:
    """Read a document, ``-`` being standard input.

    Raises:
        InvalidDocument: with file, line and column of what is wrong.
        AppfwdError: the file cannot be read.

    """
    name = "standard input" if path == "-" else _called(path)
    try:
        source = Source(name, _decoded(name, _bytes(path)))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        msg = f"{name} cannot be read: {why}."
        raise AppfwdError(msg) from error
    _parsed(source)
    return source


def _parsed(source: Source) -> Document:
    try:
        return parse_document(source.text)
    except InvalidDocument as error:
        raise source.blame(error) from None


def _called(path: str) -> str:
    return path if path.isprintable() else shown(path)


def _bytes(path: str) -> bytes:
    at_most = DOCUMENT_AT_MOST * _BYTES + 1
    if path != "-":
        with Path(path).open("rb") as file:
            return file.read(at_most)
    if sys.stdin is None:
        msg = "it is closed"
        raise ValueError(msg)
    stream: BinaryIO = sys.stdin.buffer
    return stream.read(at_most)


def _decoded(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        msg = f"{name}, line {line}, column {column}: This is not UTF-8."
        raise InvalidDocument(msg) from None
