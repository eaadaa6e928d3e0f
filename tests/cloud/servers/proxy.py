"""A TCP proxy on loopback in front of a server: cuts connections in mid-upload, or refuses them, when told to.

It passes bytes on as they are. The Host header keeps naming the proxy's port, which is what a client of S3 has signed.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

CHUNK = 64 * 1024
# With a time to linger of zero, closing sends a reset in place of an orderly end.
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Listens from the start until it is closed; healthy at first.

    Connections that are open when the proxy is told something obey it as well.
    """

    def __init__(self, server_port: int, port: int) -> None:
        self.server_port, self.port = server_port, port
        self.cuts = 0
        """How many connections have been cut since the last change."""
        self._most: int | None = None
        self._refusing = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._listen()

    def cut_after(self, most: int) -> None:
        """From now on, resets each connection once so many bytes have gone from client to server on it."""
        self._change(most=most)

    def refuse(self) -> None:
        """From now on, nobody listens; open connections are reset."""
        self._change(refusing=True)
        self._reset(*self._open)

    def heal(self) -> None:
        """From now on, all goes through."""
        self._change()

    def close(self) -> None:
        """Stops listening, for good."""
        self.refuse()

    def _change(self, most: int | None = None, *, refusing: bool = False) -> None:
        with self._lock:
            self.cuts, self._most, self._refusing = 0, most, refusing
        if refusing:
            self._deafen()
        elif self._listener is None:
            self._listen()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _deafen(self) -> None:
        listener, self._listener = self._listener, None
        if listener:
            # What wakes the thread that waits in accept(); closing alone does not.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server_port))
            except OSError:
                self._reset(client)
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            threading.Thread(target=self._upload, args=(client, server), daemon=True).start()
            threading.Thread(target=self._download, args=(server, client), daemon=True).start()

    def _upload(self, client: socket.socket, server: socket.socket) -> None:
        """Passes on what the client sends, as far as it may."""
        sent = 0
        with suppress(OSError):
            while chunk := client.recv(CHUNK):
                most = self._most
                if self._refusing or (most is not None and sent + len(chunk) > most):
                    server.sendall(chunk[: max(0, (most or 0) - sent)])
                    with self._lock:
                        self.cuts += 1
                    self._reset(client, server)
                    return
                server.sendall(chunk)
                sent += len(chunk)
        self._end(server)

    def _download(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while chunk := server.recv(CHUNK):
                client.sendall(chunk)
        self._end(client)
        # The server has said its last; without this, a client that keeps its connection would never learn it.
        self._end(server)

    def _end(self, one: socket.socket) -> None:
        """Tells the other side that nothing more comes, and forgets a connection that both sides have ended."""
        with suppress(OSError):
            one.shutdown(socket.SHUT_WR)

    def _reset(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                one.shutdown(socket.SHUT_RD)
            one.close()
            with self._lock:
                self._open.discard(one)
