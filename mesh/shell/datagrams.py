"""Datagrams in and out of the one UDP socket.

In: after one `wait_readable` the socket is drained with plain `recvfrom`, up to `DRAIN`; then other tasks have their turn. What
is there together is handled together, up to `BATCH`, and what it makes the node send shares datagrams. Out: `sendto` is tried
at once; only when the kernel's buffer is full do datagrams wait, a bounded number, for a task that exists just as long. Nothing
here may spin: an error that leaves the socket readable is read off its queue."""

from __future__ import annotations

import errno
import socket
from collections import deque

import trio

from mesh.directives import Address
from mesh.shell.clocks import read_instant
from mesh.shell.host import Host
from mesh.shell.resolve import SocketAddress, format_address, numeric
from mesh.shell.sockets import read_errors

__all__ = ["DRAIN", "QUEUE", "Datagrams"]

DRAIN = 256
"""Datagrams (and errors) handled in one wake-up: at 10 us each, others wait for 3 ms at most."""

BATCH = 16
"""Datagrams handled before what they make the node send leaves: the first of them is answered 1 ms late at most, and the others
cost a third less, for half of what a message costs is its datagram."""

QUEUE = 1_024
"""Datagrams that may wait while the kernel's send buffer is full; further ones are dropped and counted."""

DATAGRAM_BYTES = 2_048
"""Above every sealed datagram (1,400): what fills this was cut off by the kernel, and is none of ours."""

ADDRESSES = 4_096
"""Addresses remembered in both spellings; beyond it the memory starts anew."""

PAUSE = 0.05
"""Seconds of rest after an error that the socket's state does not explain, such as a lack of memory."""

NO_DATAGRAM = (errno.EAGAIN, errno.EWOULDBLOCK)
FROM_AFAR = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMSGSIZE, errno.EPROTO, errno.EACCES)
"""What an ICMP message makes of a later call on the socket."""


class Datagrams:
    __slots__ = ("_addresses", "_empty", "_family", "_host", "_lately", "_queue", "_suspicious", "_targets", "_udp")

    def __init__(self, host: Host, udp: socket.socket) -> None:
        self._host = host
        self._udp = udp
        self._family = udp.family
        self._lately = 0
        """Datagrams read at the last wake-up."""
        self._suspicious = False
        """A send met an error: the error queue may hold news, and a flood may keep the socket from ever being empty."""
        self._empty = trio.lowlevel.ParkingLot()
        self._queue: deque[tuple[bytes, SocketAddress]] = deque()
        self._targets: dict[Address, SocketAddress | None] = {}
        self._addresses: dict[SocketAddress, Address] = {}

    @property
    def waiting(self) -> int:
        """Datagrams that the kernel has not taken yet."""
        return len(self._queue)

    # --- in --------------------------------------------------------------------------------------------------------

    async def receive(self) -> None:
        """Feed the node until it is deaf."""
        udp, host = self._udp, self._host
        while True:
            await trio.lowlevel.wait_readable(udp)
            if host.deaf:
                return
            host.counts["udp_wakeups"] += 1
            received, failed = self._drain()
            if failed is not None and failed not in FROM_AFAR:
                host.counts["udp_receive_errors"] += 1
                await trio.sleep(PAUSE)
            if (self._suspicious or not received or failed is not None) and not host.deaf:
                self._read_errors()

    def _drain(self) -> tuple[int, int | None]:
        """How many datagrams were read, and the number of the error that ended it unless that was emptiness."""
        host = self._host
        node, perform = host.node, host.perform
        most = BATCH if self._lately > 1 else 1  # one that comes alone is not kept waiting until nothing has come behind it
        count = 0
        batch: list[tuple[bytes, Address]] = []
        failed: int | None = -1
        while failed == -1 and count < DRAIN and not host.deaf:
            read, failed = self._read(batch, min(most, DRAIN - count))
            count += read
            most = BATCH
            if len(batch) == 1:
                node.on_datagram(*batch[0], read_instant())
                perform()
            elif batch:
                node.on_datagrams(batch, read_instant())
                perform(len(batch))
            if failed == -1 and count > 1:
                host.flush()  # more have come: what these are answered with does not wait for them
            batch.clear()
        host.counts["udp_received"] += count
        self._lately = count
        return count, failed if failed != -1 else None

    def _read(self, batch: list[tuple[bytes, Address]], most: int) -> tuple[int, int | None]:
        """Read so many into a batch; how many were read, and as `_drain`, or -1 for no error."""
        receive, addresses = self._udp.recvfrom, self._addresses
        for read in range(most):
            try:
                data, place = receive(DATAGRAM_BYTES)
            except OSError as error:
                return read, None if error.errno in NO_DATAGRAM else error.errno or 0
            if len(data) == DATAGRAM_BYTES:
                self._host.counts["udp_oversize"] += 1
                continue
            address = addresses.get(place)
            if address is None:
                address = self._remember(place)
            batch.append((data, address))
        return most, -1

    def _remember(self, place: SocketAddress) -> Address:
        if len(self._addresses) >= ADDRESSES:
            self._addresses.clear()
        address = self._addresses[place] = format_address(place)
        return address

    def _read_errors(self) -> None:
        """Tell the node who refused a datagram. Called when the socket was woken for no datagram, or a call on it failed."""
        self._suspicious = False
        refused, others = read_errors(self._udp, DRAIN)
        host = self._host
        host.counts["udp_unreachable"] += others
        for address in refused:
            host.counts["udp_refused"] += 1
            host.node.on_refused(address, read_instant())
            host.perform()

    # --- out -------------------------------------------------------------------------------------------------------

    def send(self, address: Address, data: bytes) -> None:
        try:
            target = self._targets[address]
        except KeyError:
            target = self._target(address)
        if target is None:
            self._host.counts["udp_unsendable"] += 1
        elif self._queue or not self._try(data, target):
            self._wait(data, target)

    def _target(self, address: Address) -> SocketAddress | None:
        """Only numeric addresses of the socket's own family: `sendto` would ask the name service for any other, and block."""
        if len(self._targets) >= ADDRESSES:
            self._targets.clear()
        try:
            found = numeric(address)
        except ValueError:
            found = None
        target = found[1] if found is not None and found[0] == self._family and found[1][1] else None
        self._targets[address] = target
        return target

    def _try(self, data: bytes, target: SocketAddress) -> bool:
        """Whether the kernel has taken the datagram, or never will."""
        counts = self._host.counts
        for last in (False, True):
            try:
                self._udp.sendto(data, target)
            except OSError as error:
                if error.errno in NO_DATAGRAM:
                    return False
                self._suspicious = True
                if not last:  # most likely the news of an earlier datagram: it is told once, so try again
                    continue
                if error.errno == errno.EMSGSIZE:
                    counts["udp_too_large"] += 1
                elif error.errno == errno.ENOBUFS:
                    counts["udp_dropped"] += 1
                else:
                    counts["udp_unreachable"] += 1
                return True
            counts["udp_sent"] += 1
            counts["udp_sent_bytes"] += len(data)
            return True
        return True

    def _wait(self, data: bytes, target: SocketAddress) -> None:
        if len(self._queue) >= QUEUE:
            self._host.counts["udp_dropped"] += 1
            return
        self._queue.append((data, target))
        if len(self._queue) == 1:
            self._host.spawn(self._flush)

    async def drained(self) -> None:
        """Wait until the kernel has taken every datagram."""
        while self._queue:
            await self._empty.park()

    async def _flush(self) -> None:
        queue = self._queue
        while queue:
            await trio.lowlevel.wait_writable(self._udp)
            while queue and self._try(*queue[0]):
                queue.popleft()
        self._empty.unpark_all()
