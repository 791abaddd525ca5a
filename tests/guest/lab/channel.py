"""The host's end of the agent's wire."""

import itertools
import os
import socket
import threading
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress

from .agent.wire import Fields, WireError, decode, encode
from .errors import GuestDiedError, RequestError, RequestTimeoutError


class Channel:
    """Requests to the agent, any number of them at once."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._sending = threading.Lock()
        self._waiting: dict[int, Future[Fields]] = {}
        # A restored agent may still answer what its snapshot's maker asked.
        self._numbers = itertools.count(int.from_bytes(os.urandom(5), "big"))
        self.hello: Future[Fields] = Future()
        self._closed = False
        threading.Thread(target=self._read, daemon=True, name="agent-channel").start()

    def request(self, operation: str, *, seconds: float, **fields: object) -> Fields:
        """Ask, and wait that long for the answer.

        Raises RequestError if the agent could not do it, RequestTimeoutError if it didn't answer,
        GuestDiedError if the guest ended.
        """
        number = next(self._numbers)
        reply: Future[Fields] = Future()
        self._waiting[number] = reply
        try:
            if self._closed:
                raise GuestDiedError(f"the guest is gone: {operation}")
            line = encode({"id": number, "op": operation, **fields})
            with self._sending:
                self._stream.sendall(line)
            return _outcome(reply.result(seconds))
        except FutureTimeoutError as error:
            raise RequestTimeoutError(f"no answer in {seconds:.0f} s: {operation}") from error
        except OSError as error:
            raise GuestDiedError(f"the guest is gone: {operation}") from error
        finally:
            del self._waiting[number]

    def close(self) -> None:
        """Hang up; requests under way end with GuestDiedError."""
        with suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        with self._stream, self._stream.makefile("rb") as lines, suppress(OSError):
            for line in lines:
                with suppress(WireError):
                    self._deliver(decode(line))
        self._closed = True
        for reply in [self.hello, *self._waiting.values()]:
            with suppress(InvalidStateError):
                reply.set_exception(GuestDiedError("the guest ended"))

    def _deliver(self, message: Fields) -> None:
        if message.has("hello"):
            with suppress(InvalidStateError):
                self.hello.set_result(message.table("hello"))
            return
        reply = self._waiting.get(message.integer("id"))
        if reply is not None:
            reply.set_result(message)


def _outcome(message: Fields) -> Fields:
    if message.has("error"):
        raise RequestError(message.text("error"), message.text("errno", ""))
    return message.table("ok")
