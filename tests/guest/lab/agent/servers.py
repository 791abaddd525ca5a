"""Background servers: they echo, count, and speak first when told."""

import errno
import socket
import threading
from contextlib import suppress

from .wire import Json

CHUNK = 1 << 16
# asm-generic/socket.h; Python has no name for it.
SO_RCVBUFFORCE = 33


class ServerState:
    """What a server saw; several threads add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.connections = 0
        self.messages = 0
        self.octets = 0
        self.peers: list[list[object]] = []

    def met(self, address: tuple[str, int]) -> None:
        """Note a new connection, or a datagram's sender."""
        with self._lock:
            self.connections += 1
            self.peers.append(list(address[:2]))
            del self.peers[:-100]

    def heard(self, data: bytes) -> None:
        """Note data that came in."""
        with self._lock:
            self.messages += 1
            self.octets += len(data)

    def report(self) -> Json:
        """Return the counts, and the last hundred peers."""
        with self._lock:
            return {
                "connections": self.connections,
                "messages": self.messages,
                "octets": self.octets,
                "peers": list(self.peers),
            }


class TcpServer:
    """Accepts connections, greets and echoes; its accepted sockets have the listener's label."""

    def __init__(self, listener: socket.socket, echo: bool, greeting: bytes) -> None:  # noqa: FBT001
        self.state = ServerState()
        self._listener = listener
        self._echo = echo
        self._greeting = greeting
        self._connections: list[socket.socket] = []
        listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def send(self, data: bytes, target: tuple[str, int] | None) -> None:
        """Send on the newest connection, or on that from `target`; ENOTCONN if there is none."""
        for connection in reversed(self._connections):
            if target is None or connection.getpeername()[:2] == target:
                connection.sendall(data)
                return
        raise OSError(errno.ENOTCONN, "no connection")

    def close(self) -> None:
        """Close the listener and every connection."""
        for each in [self._listener, *self._connections]:
            with suppress(OSError):
                # Closing alone would not wake the thread that waits on it.
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, address = self._listener.accept()
                self._connections.append(connection)
                self.state.met(address)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(self._greeting)
            while data := connection.recv(CHUNK):
                self.state.heard(data)
                if self._echo:
                    connection.sendall(data)
        with suppress(ValueError):
            self._connections.remove(connection)
        connection.close()


class UdpServer:
    """Receives datagrams, and echoes them."""

    def __init__(self, listener: socket.socket, echo: bool) -> None:  # noqa: FBT001
        self.state = ServerState()
        self._listener = listener
        self._echo = echo
        # A burst of some thousand small datagrams must not be lost to a slow guest.
        listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        threading.Thread(target=self._receive, daemon=True).start()

    def send(self, data: bytes, target: tuple[str, int] | None) -> None:
        """Send a datagram to `target` from the server's own port."""
        if target is None:
            raise OSError(errno.EDESTADDRREQ, "a datagram needs a target")
        self._listener.sendto(data, target)

    def close(self) -> None:
        """Stop receiving."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _receive(self) -> None:
        while self._listener.fileno() >= 0:
            try:
                data, address = self._listener.recvfrom(CHUNK)
            except OSError:
                # An ICMP error for an earlier answer; or the socket was closed.
                continue
            self.state.met(address)
            self.state.heard(data)
            if self._echo:
                with suppress(OSError):
                    self._listener.sendto(data, address)
