"""One address in front of several nodes, as a load balancer or a virtual address is."""

import contextlib
import socket
import threading

from tools.crashlab.ports import LOOPBACK

CHUNK = 65536


class Front:
    """Passes connections on to the node whose turn it is. `port` is where clients come."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self._target = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def turn_to(self, port: int) -> None:
        """Lead new connections there, and end those that are open."""
        with self._lock:
            self._target = port
            for each in self._open:
                _end(each)

    def close(self) -> None:
        """End everything."""
        _end(self._listener)
        self.turn_to(0)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                node = socket.create_connection((LOOPBACK, self._target), timeout=5)
            except OSError:
                _end(client)
                continue
            node.settimeout(None)
            for end in (client, node):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, node}
            for ends in ((client, node), (node, client)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                sink.sendall(data)
        with self._lock:
            self._open -= {source, sink}
        _end(source)
        _end(sink)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
