# SPDX-License-Identifier: BSD-3-Clause
"""
Lets User-Mode Linux talk to daemons that it does not get on with: it asks the device for its configuration, which C's
virtiofsd cannot tell, and sends a memory table with room for a region that it has not, which the Rust one refuses. Only
messages pass here; rings, data and notifications are between the two.
"""

import array
import os
import select
import socket
import struct
import threading

HEADER = struct.Struct("<III")
SET_MEM_TABLE, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_CONFIG = 5, 15, 16, 24
F_CONFIG = 1 << 9
REPLY = 1 | 4  # version 1, an answer
REGION_BYTES, FDS_MAX, TAG_BYTES = 32, 16, 36


class Relay:
    """with Relay(host, daemon's socket, tag) as path: a socket for the guest."""

    def __init__(self, host, target, tag):
        self.target, self.path = target, f"{target}-relay"
        self.config = tag.encode().ljust(TAG_BYTES, b"\0") + struct.pack("<I", 1)
        self.daemon_config = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.wake = os.pipe()
        self.thread = threading.Thread(target=self._work)

    def __enter__(self):
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.thread.start()
        return self.path

    def __exit__(self, *_):
        os.write(self.wake[1], b"x")
        self.thread.join()
        self.listener.close()
        os.unlink(self.path)
        for fd in self.wake:
            os.close(fd)

    def _work(self):
        if self.listener not in select.select([self.listener, self.wake[0]], [], [])[0]:
            return
        guest, _ = self.listener.accept()
        daemon = socket.socket(socket.AF_UNIX)
        try:
            daemon.connect(self.target)
            self._pass_on(guest, daemon)
        except OSError:
            pass  # one of the two has gone
        finally:
            guest.close()
            daemon.close()

    def _pass_on(self, guest, daemon):
        while True:
            ready = select.select([guest, daemon, self.wake[0]], [], [])[0]
            if self.wake[0] in ready:
                return
            for source in ready:
                message = _receive(source)
                if message is None:
                    return
                request, flags, payload, fds = message
                try:
                    if source is guest:
                        self._to_daemon(guest, daemon, request, flags, payload, fds)
                    else:
                        self._to_guest(guest, request, flags, payload, fds)
                finally:
                    for fd in fds:
                        os.close(fd)

    def _to_daemon(self, guest, daemon, request, flags, payload, fds):
        if request == GET_CONFIG:
            offset, size, zero = HEADER.unpack_from(payload)
            part = self.config[offset:offset + size].ljust(size, b"\0")
            _send(guest, request, REPLY, HEADER.pack(offset, size, zero) + part, [])
            return
        if request == SET_MEM_TABLE:
            payload = payload[:8 + REGION_BYTES * struct.unpack_from("<I", payload)[0]]
        if request == SET_PROTOCOL_FEATURES and not self.daemon_config:
            payload = struct.pack("<Q", struct.unpack("<Q", payload)[0] & ~F_CONFIG)
        _send(daemon, request, flags, payload, fds)

    def _to_guest(self, guest, request, flags, payload, fds):
        if request == GET_PROTOCOL_FEATURES:
            features = struct.unpack("<Q", payload)[0]
            self.daemon_config = bool(features & F_CONFIG)
            payload = struct.pack("<Q", features | F_CONFIG)
        _send(guest, request, flags, payload, fds)


def _receive(sock):
    """(request, flags, payload, descriptors), or None at the end."""
    head, ancillary, _, _ = sock.recvmsg(HEADER.size, socket.CMSG_SPACE(FDS_MAX * 4))
    fds = array.array("i")
    for _, _, data in ancillary:
        fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
    head += _exactly(sock, HEADER.size - len(head)) if head else b""
    if len(head) < HEADER.size:
        return None
    request, flags, size = HEADER.unpack(head)
    return request, flags, _exactly(sock, size), list(fds)


def _exactly(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionError("the message ends early")
        data += more
    return data


def _send(sock, request, flags, payload, fds):
    message = HEADER.pack(request, flags, len(payload)) + payload
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sent = sock.sendmsg([message], ancillary)
    if sent < len(message):
        sock.sendall(message[sent:])
