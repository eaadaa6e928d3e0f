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
        with self._lock:
            self._reset(*self._open)

    def heal(self) -> None:
        """From now on, all goes through."""
        self._change()

    def _change(self, most: int | None = None, *, refusing: bool = False) -> None:
        self.cuts, self._most = 0, most
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
                self._reset(client)  # the server is down: so it looks to the client
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        """One connection, to its end on both sides."""
        answers = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
        answers.start()
        if self._pass_on(client, server, limited=True):
            answers.join()
            for one in (client, server):
                one.close()
        else:
            self._reset(client, server)
        with self._lock:
            self._open -= {client, server}

    def _pass_on(self, source: socket.socket, sink: socket.socket, *, limited: bool = False) -> bool:
        """Passes on what comes, until nothing more does; False if the limit came first."""
        sent = 0
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                most = self._most if limited else None
                if most is not None and sent + len(chunk) > most:
                    self.cuts += 1
                    sink.sendall(chunk[: max(0, most - sent)])
                    return False
                sink.sendall(chunk)
                sent += len(chunk)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        return True

    def _reset(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                # Wakes the thread that waits for it; closing alone does not.
                one.shutdown(socket.SHUT_RD)
            one.close()
