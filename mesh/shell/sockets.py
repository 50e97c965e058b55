"""The two sockets of a node, UDP and TCP on one port, and what Linux knows of datagrams that were refused.

With IP_RECVERR the kernel queues, for each ICMP error, the address that the datagram was meant for. It also fails one later
call on the socket, whatever that one's address, with the same error number: so an error of `sendto` or `recvfrom` says that
the queue wants reading, not that this datagram was refused."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from dataclasses import dataclass

import trio

from mesh.directives import Address
from mesh.errors import BindFailedError
from mesh.shell.resolve import SocketAddress, Target, format_address, is_wildcard, resolve

__all__ = ["Sockets", "bind_sockets", "close_socket", "read_errors"]

BACKLOG = 128
"""Connections that may wait to be accepted."""

RECEIVE_BYTES = 4 << 20
"""Wanted of the kernel for datagrams that arrive while the node is busy; it grants what its limit allows."""

SEND_BYTES = 1 << 20

PORT_ATTEMPTS = 64
"""Ports tried for one that is free for UDP and TCP both. At 50 % free, all fail once in 2^64."""

IP_RECVERR = 11  # linux/in.h; the socket module does not name them
IPV6_RECVERR = 25
EXTENDED_ERROR = struct.Struct("=IBBBBII")  # struct sock_extended_err
FROM_NETWORK = (2, 3)  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6
ANCILLARY_BYTES = 512


@dataclass(frozen=True, slots=True)
class Sockets:
    """A bound pair. `advertise` is what others are told, `bound` where the sockets are."""

    udp: socket.socket
    tcp: socket.socket
    family: socket.AddressFamily
    bound: Address
    advertise: Address

    def close(self) -> None:
        close_socket(self.udp)
        close_socket(self.tcp)


async def bind_sockets(bind: str, advertise: str | None = None) -> Sockets:
    """UDP and TCP sockets on one port of `bind` (`host:port`; port 0 takes any that is free for both). A checkpoint.

    A port of 0 in `advertise` stands for the bound one. Raises `BindFailedError`."""
    targets = await _resolved(bind)
    failure: OSError | None = None
    for target in targets:
        try:
            udp, tcp = _bind_pair(target)
        except OSError as error:
            failure = failure or error
            continue
        try:
            place = udp.getsockname()
            told = await _advertised(bind, place, advertise)
        except BaseException:
            close_socket(udp)
            close_socket(tcp)
            raise
        return Sockets(udp, tcp, target[0], format_address(place), told)
    raise BindFailedError(bind, _explain(failure)) from failure


async def _resolved(address: str) -> list[Target]:
    try:
        targets = await resolve(address, socket.AF_INET)
    except (OSError, ValueError) as error:
        raise BindFailedError(address, _explain(error)) from error
    if not targets:
        raise BindFailedError(address, "its host name has no address")
    return targets


async def _advertised(bind: str, place: SocketAddress, advertise: str | None) -> Address:
    """What other members are told to reach this node at: always numeric, never a wildcard, never port 0."""
    if advertise is None:
        if is_wildcard(place[0]):
            raise BindFailedError(bind, "it means every interface: say with `advertise` which address others can reach")
        return format_address(place)
    _, told = (await _resolved(advertise))[0]
    if is_wildcard(told[0]):
        raise BindFailedError(advertise, "it means every interface, and cannot be advertised")
    port = told[1] or place[1]
    return format_address((told[0], port, told[2], told[3]) if len(told) == 4 else (told[0], port))


def _explain(error: Exception | None) -> str:
    match error:
        case socket.gaierror():
            return f"its host name does not resolve ({error.strerror})"
        case OSError(errno=errno.EADDRINUSE):
            return "the port is taken by another process: choose another, or 0 for any"
        case OSError(errno=errno.EADDRNOTAVAIL):
            return "no interface of this machine has that address"
        case OSError(errno=errno.EACCES):
            return "not permitted: ports under 1024 are the superuser's"
        case OSError():
            return error.strerror or str(error)
        case _:
            return str(error)


def _bind_pair(target: Target) -> tuple[socket.socket, socket.socket]:
    family, place = target
    attempts = 1 if place[1] else PORT_ATTEMPTS
    while True:
        attempts -= 1
        with contextlib.ExitStack() as opened:
            udp = opened.enter_context(_udp_socket(family))
            tcp = opened.enter_context(_tcp_socket(family))
            try:
                udp.bind(place)
                port = udp.getsockname()[1]
                tcp.bind((place[0], port, place[2], place[3]) if len(place) == 4 else (place[0], port))
                tcp.listen(BACKLOG)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not attempts:
                    raise
                continue
            opened.pop_all()
            return udp, tcp


def _udp_socket(family: socket.AddressFamily) -> socket.socket:
    udp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        udp.setblocking(False)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "linux":
            if family == socket.AF_INET6:
                udp.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            else:
                udp.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    except BaseException:
        udp.close()
        raise
    return udp


def _tcp_socket(family: socket.AddressFamily) -> socket.socket:
    tcp = socket.socket(family, socket.SOCK_STREAM)
    try:
        tcp.setblocking(False)
        # A restart must get its port back while old connections linger. Never on UDP: there two processes could share it.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    except BaseException:
        tcp.close()
        raise
    return tcp


def close_socket(sock: socket.socket) -> None:
    """Close a socket that tasks may be waiting for: they get `trio.ClosedResourceError`. Idempotent."""
    if sock.fileno() != -1:
        trio.lowlevel.notify_closing(sock)
        sock.close()


def read_errors(udp: socket.socket, limit: int) -> tuple[list[Address], int]:
    """Drain up to `limit` queued errors: the addresses that refused a datagram, each once, and how many others there were."""
    refused: dict[Address, None] = {}
    others = 0
    if sys.platform != "linux":
        return [], 0
    for _ in range(limit):
        try:
            _, ancillary, _, place = udp.recvmsg(1, ANCILLARY_BYTES, socket.MSG_ERRQUEUE)
        except OSError:  # BlockingIOError: the queue is empty
            break
        number, origin = _extended_error(ancillary)
        if number == errno.ECONNREFUSED and origin in FROM_NETWORK and place:
            refused[format_address(place)] = None
        else:
            others += 1
    return list(refused), others


def _extended_error(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Error number and origin in the control data of one queued error; (0, 0) if there is none."""
    for level, kind, data in ancillary:
        ours = (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR))
        if ours and len(data) >= EXTENDED_ERROR.size:
            number, origin, *_ = EXTENDED_ERROR.unpack_from(data)
            return number, origin
    return 0, 0
