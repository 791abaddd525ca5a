"""Checked reading of JSON objects: the only words both ends of the wire share."""

import base64
import binascii
import json

Json = dict[str, object]


class WireError(Exception):
    """A message is not what the protocol says."""


def encode(message: Json) -> bytes:
    """Return the message as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> "Fields":
    """Read one line; WireError if it is not a JSON object."""
    try:
        value: object = json.loads(line)
    except ValueError as error:
        raise WireError(f"not JSON: {line[:80]!r}") from error
    return as_fields(value)


def as_fields(value: object) -> "Fields":
    """Wrap a decoded JSON object; WireError if it is another kind of value."""
    if not isinstance(value, dict):
        raise WireError(f"not an object: {value!r:.80}")
    return Fields({str(key): item for key, item in value.items()})


def pack(data: bytes) -> str:
    """Return bytes as JSON text."""
    return base64.b64encode(data).decode("ascii")


class Fields:
    """A JSON object whose fields are read with a type; WireError when they have another."""

    def __init__(self, values: Json) -> None:
        self.values = values

    def has(self, name: str) -> bool:
        """True if the field is there and not null."""
        return self.values.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string field."""
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self._wrong(name, "text")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """Return a whole number field."""
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "a whole number")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a number field; seconds, where it is a time."""
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self._wrong(name, "a number")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return a true or false field; false when it is absent."""
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def data(self, name: str) -> bytes:
        """Return the bytes packed into a field; none when it is absent."""
        try:
            return base64.b64decode(self.text(name, ""), validate=True)
        except binascii.Error as error:
            raise self._wrong(name, "base64") from error

    def items(self, name: str) -> list[object]:
        """Return a list field; empty when it is absent."""
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of strings."""
        return [str(item) for item in self.items(name)]

    def table(self, name: str) -> "Fields":
        """Return an object field; empty when it is absent."""
        return as_fields(self.values.get(name) or {})

    def address(self, name: str) -> tuple[str, int] | None:
        """Return an [address, port] field, or None when it is absent."""
        pair = self.items(name)
        if not pair:
            return None
        if len(pair) < 2 or not isinstance(pair[0], str) or not isinstance(pair[1], int):
            raise self._wrong(name, "[address, port]")
        return pair[0], pair[1]

    def _wrong(self, name: str, kind: str) -> WireError:
        return WireError(f"field {name!r} is not {kind}: {self.values.get(name)!r:.80}")
