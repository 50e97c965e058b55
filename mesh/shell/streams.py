"""TCP streams: accepted, dialled, read, written, and closed in order.

One task owns each stream: it dials (or was accepted), reads, and at its end closes the socket, whatever ended it. Writing is
tried at once, from wherever the node is driven; only what the kernel does not take waits, up to `BACKLOG_BYTES`, for a second
task that exists just as long. A far end that does not read is cut off at that bound: memory never follows its pace.

Closing is graceful: what was written leaves, the write side is shut, and what still arrives is read and discarded until the far
end closes too; all within `CLOSE_SECONDS`. (Closing a socket with unread bytes resets it, and the last words would be lost.)

The node hears exactly one `on_stream_end` for each stream that it did not close itself:
    refused      nothing listens there, or the way there is barred
    silent       no answer in time
    unresolved   its host name has no address
    closed       the far end closed
    reset        the connection broke, or the far end left too much unread"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections import Counter, deque

import trio

from mesh.directives import Address
from mesh.shell.clocks import read_instant
from mesh.shell.host import Host
from mesh.shell.resolve import SocketAddress, Target, format_address, resolve
from mesh.shell.sockets import close_socket

__all__ = ["BACKLOG_BYTES", "CONNECT_SECONDS", "Streams"]

CONNECT_SECONDS = 5.0
"""For a dial in all: the name service and every address that the name stands for."""

SHORTEST_ATTEMPT_SECONDS = 0.5
"""One address of several is given its even share of the time, and at least this."""

CLOSE_SECONDS = 5.0
"""For what was written to leave, and the far end to close too."""

BACKLOG_BYTES = 8 << 20
"""What may wait for a far end that does not read: twice the largest frame."""

ACCEPTED_STREAMS = 512
"""Accepted streams in all: half of the descriptors that a process has by default."""

SOURCE_STREAMS = 64
"""Accepted streams from one host (IPv6: one /64), so that no single one can use up the above. Loopback is exempt: whoever is
on this machine could do worse, and tests run hundreds of nodes on it."""

ACCEPTS = 64
"""Connections accepted in one wake-up."""

READS = 16
READ_BYTES = 1 << 16
"""One wake-up reads up to `READS` times so many bytes (1 MiB); then other tasks have their turn."""

PAUSE = 0.1
"""Seconds of rest when the process has no descriptors left: the waiting connection keeps the listener readable."""

BARRED = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EACCES,
    errno.EPERM,
    errno.EADDRNOTAVAIL,
    errno.EINVAL,
    errno.EAFNOSUPPORT,
)
AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK)
DISCARD_ON_CLOSE = struct.pack("ii", 1, 0)

KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A stream whose far host has vanished ends after a minute: seconds idle, seconds between probes, probes."""

UNACKNOWLEDGED = 60_000
"""ms after which it ends, too, if something was written to it: the kernel sends no keepalive while it repeats what is not
acknowledged, and would do that for a quarter of an hour."""


class Stream:
    """One stream, from dial or accept until its socket is closed."""

    __slots__ = ("abort", "backlog", "backlog_bytes", "broken", "closing", "number", "reason", "scope", "sock", "source")

    def __init__(self, number: int, sock: socket.socket | None, source: str | None) -> None:
        self.number = number
        self.sock = sock
        """None until a dialled stream is connected."""
        self.source = source
        """The host that an accepted stream is counted under."""
        self.scope = trio.CancelScope()
        """Of the owning task; its deadline bounds a close."""
        self.backlog: deque[memoryview] = deque()
        self.backlog_bytes = 0
        self.closing = False
        """The node has closed it: what arrives is discarded."""
        self.broken = False
        """A write failed. What has arrived may still be read."""
        self.abort = False
        """The kernel, too, is to drop what it holds."""
        self.reason: str | None = None
        """Why it has ended."""


class Streams:
    __slots__ = ("_accepted", "_family", "_gone", "_host", "_sources", "_streams")

    def __init__(self, host: Host, family: socket.AddressFamily | None) -> None:
        self._host = host
        self._family = family
        self._streams: dict[int, Stream] = {}
        self._sources: Counter[str] = Counter()
        self._accepted = 0
        self._gone = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        """Streams whose sockets are open, or being dialled."""
        return len(self._streams)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait for far ends to read."""
        return sum(stream.backlog_bytes for stream in self._streams.values())

    # --- accepting -------------------------------------------------------------------------------------------------

    async def accept(self, listener: socket.socket) -> None:
        """Feed the node with connections until it is deaf."""
        host = self._host
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(ACCEPTS):
                if host.deaf:
                    return
                try:
                    sock, place = listener.accept()
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        host.counts["tcp_accept_errors"] += 1
                        await trio.sleep(PAUSE)
                    elif error.errno not in AGAIN:
                        host.counts["tcp_accept_errors"] += 1  # one connection that ended before it was accepted
                        continue
                    break
                self._accept(sock, place)

    def _accept(self, sock: socket.socket, place: SocketAddress) -> None:
        source = _source(place)
        if self._accepted >= ACCEPTED_STREAMS or (source is not None and self._sources[source] >= SOURCE_STREAMS):
            self._host.counts["tcp_accept_refused"] += 1
            _abort(sock)
            return
        try:
            _prepare(sock)
        except OSError:  # it has been reset meanwhile
            self._host.counts["tcp_accept_errors"] += 1
            sock.close()
            return
        try:
            number = self._host.node.on_accept(format_address(place), read_instant())
        except BaseException:
            sock.close()
            raise
        self._accepted += 1
        self._host.counts["tcp_accepted"] += 1
        if source is not None:
            self._sources[source] += 1
        stream = self._streams[number] = Stream(number, sock, source or "")
        self._host.spawn(self._own, stream, None)
        self._host.perform()

    # --- what the node asks ----------------------------------------------------------------------------------------

    def connect(self, number: int, address: Address) -> None:
        stream = self._streams[number] = Stream(number, None, None)
        self._host.spawn(self._own, stream, address)

    def write(self, number: int, data: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.sock is None or stream.closing:
            self._host.counts["tcp_unwritable"] += 1
            return
        if stream.broken or stream.reason is not None:
            return
        if stream.backlog:
            self._hold(stream, memoryview(data))
            return
        sent = self._try(stream, data)
        if sent < len(data) and not stream.broken:
            self._hold(stream, memoryview(data)[sent:])
            if stream.reason is None:
                self._host.spawn(self._flush, stream)

    def close(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.closing:
            return
        stream.closing = True
        if stream.sock is None or stream.broken or stream.reason is not None:
            stream.scope.cancel()
            return
        stream.scope.deadline = trio.current_time() + CLOSE_SECONDS
        if not stream.backlog:
            self._shut(stream)

    async def drained(self) -> None:
        """Close every stream, and wait until the last has gone: what was written has left, or its bound has passed."""
        for number in list(self._streams):
            self.close(number)
        while self._streams:
            await self._gone.park()

    # --- writing ---------------------------------------------------------------------------------------------------

    def _try(self, stream: Stream, data: bytes | memoryview) -> int:
        """Bytes that the kernel has taken. On an error the stream is broken; its reader will meet the end."""
        assert stream.sock is not None
        try:
            sent = stream.sock.send(data)
        except OSError as error:
            if error.errno in AGAIN:
                return 0
            stream.broken = True
            stream.backlog.clear()
            stream.backlog_bytes = 0
            if stream.closing:
                stream.scope.cancel()
            return 0
        self._host.counts["tcp_sent_bytes"] += sent
        return sent

    def _hold(self, stream: Stream, rest: memoryview) -> None:
        stream.backlog.append(rest)
        stream.backlog_bytes += len(rest)
        if stream.backlog_bytes > BACKLOG_BYTES:
            self._host.counts["tcp_overrun"] += 1
            stream.backlog.clear()
            stream.backlog_bytes = 0
            stream.abort = True
            stream.reason = "reset"
            stream.scope.cancel()

    async def _flush(self, stream: Stream) -> None:
        """Write what waits, then end. The stream's own task ends this one by closing the socket."""
        assert stream.sock is not None
        backlog = stream.backlog
        while backlog:
            try:
                await trio.lowlevel.wait_writable(stream.sock)
            except trio.ClosedResourceError:
                return
            while backlog:
                sent = self._try(stream, backlog[0])
                if not sent:
                    break
                stream.backlog_bytes -= sent
                if sent < len(backlog[0]):
                    backlog[0] = backlog[0][sent:]
                    break
                backlog.popleft()
        if stream.closing and not stream.broken and stream.reason is None:
            self._shut(stream)

    def _shut(self, stream: Stream) -> None:
        """Everything has left: say so to the far end, which closes in turn."""
        assert stream.sock is not None
        try:
            stream.sock.shutdown(socket.SHUT_WR)
        except OSError:
            stream.scope.cancel()

    # --- the life of one -------------------------------------------------------------------------------------------

    async def _own(self, stream: Stream, address: Address | None) -> None:
        try:
            with stream.scope:
                if address is not None:
                    stream.reason = await self._dial(stream, address)
                if stream.reason is None:
                    stream.reason = await self._read(stream)
        finally:
            self._forget(stream)
        if not stream.closing and stream.reason is not None and not self._host.deaf:
            self._host.node.on_stream_end(stream.number, stream.reason, read_instant())
            self._host.perform()

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.number]
        self._gone.unpark_all()
        unsent = bool(stream.backlog)
        stream.backlog.clear()
        stream.backlog_bytes = 0
        if stream.source is not None:
            self._accepted -= 1
            if stream.source:
                self._sources[stream.source] -= 1
                if not self._sources[stream.source]:
                    del self._sources[stream.source]
        if stream.sock is not None:
            if unsent or stream.abort:
                _abort(stream.sock)
            else:
                close_socket(stream.sock)

    async def _dial(self, stream: Stream, address: Address) -> str | None:
        """Connect to the first target that answers; the reason if none does."""
        deadline = trio.current_time() + CONNECT_SECONDS
        reason = "unresolved"
        with trio.CancelScope(deadline=deadline) as all_of_it:
            try:
                targets = await resolve(address, self._family)
            except (OSError, ValueError):
                targets = []
            for index, target in enumerate(targets):
                share = (deadline - trio.current_time()) / (len(targets) - index)
                with trio.move_on_after(max(share, SHORTEST_ATTEMPT_SECONDS)) as attempt:
                    stream.sock, word = await _connect(target)
                    if stream.sock is not None:
                        break
                    reason = word if reason != "refused" else reason
                if attempt.cancelled_caught and reason != "refused":
                    reason = "silent"
        if stream.sock is None:
            return "silent" if all_of_it.cancelled_caught and reason == "unresolved" else reason
        self._host.counts["tcp_connected"] += 1
        if not self._host.deaf and not stream.closing:
            self._host.node.on_connected(stream.number, read_instant())
            self._host.perform()
        return None

    async def _read(self, stream: Stream) -> str:
        """Feed the node until the far end has closed; the reason."""
        sock, host = stream.sock, self._host
        assert sock is not None
        receive = sock.recv
        while True:
            await trio.lowlevel.wait_readable(sock)
            for _ in range(READS):
                try:
                    data = receive(READ_BYTES)
                except OSError as error:
                    if error.errno in AGAIN:
                        break
                    return "silent" if error.errno in (errno.ETIMEDOUT, errno.EHOSTUNREACH) else "reset"
                if not data:
                    return "reset" if stream.broken else "closed"
                if stream.reason is not None:
                    return stream.reason
                if stream.closing or host.deaf:
                    continue
                host.counts["tcp_received_bytes"] += len(data)
                host.node.on_stream(stream.number, data, read_instant())
                host.perform()
                if len(data) < READ_BYTES and not stream.closing:
                    break


def _source(place: SocketAddress) -> str | None:
    """What an accepted stream is counted under; None on loopback."""
    host = place[0]
    if ":" not in host:
        return None if host.startswith("127.") else host
    if host == "::1":
        return None
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8].hex()


def _prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)


def _abort(sock: socket.socket) -> None:
    """Close at once, and let the kernel discard what it holds."""
    if sock.fileno() != -1:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, DISCARD_ON_CLOSE)
        close_socket(sock)


async def _connect(target: Target) -> tuple[socket.socket | None, str]:
    """A connected socket, or None and the reason."""
    family, place = target
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None, "refused"
    try:
        _prepare(sock)
        number = sock.connect_ex(place)
        if number == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except BaseException:
        close_socket(sock)
        raise
    if number == 0:
        return sock, ""
    close_socket(sock)
    return None, "refused" if number in BARRED else "silent"
