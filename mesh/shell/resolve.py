"""Addresses as text, as the operating system's tuples, and back.

The cores know `host:port` with a numeric host (IPv6 in brackets) and nothing else. Host names occur where an operator writes
them: in seeds, in `bind` and in `advertise`. They are resolved anew at each use, for they move, and every address that a
name stands for is tried."""

from __future__ import annotations

import socket

import trio

from mesh.directives import Address

__all__ = ["SocketAddress", "Target", "format_address", "is_wildcard", "local_host_towards", "numeric", "resolve", "split"]

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""What `sendto` and `connect` take: of IPv4, or of IPv6 with flow and scope."""

Target = tuple[socket.AddressFamily, SocketAddress]

FAMILIES = (socket.AF_INET, socket.AF_INET6)


def split(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[host]:port`. Raises ValueError with what is wrong."""
    host, separator, port = address.rpartition(":")
    if not separator or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise ValueError(f"{address!r} is no address: write HOST:PORT, or [HOST]:PORT for IPv6")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address!r} is ambiguous: write an IPv6 host in brackets, [HOST]:PORT")
    if not host or len(host) > 255 or any(c.isspace() or c == "\0" for c in host):
        raise ValueError(f"{address!r} is no address: its host is missing or not a host name")
    return host, int(port)


def numeric(address: str) -> Target | None:
    """The target of an address whose host is numeric; None for a host name. Raises ValueError for what is no address."""
    host, port = split(address)
    try:
        socket.inet_pton(socket.AF_INET, host)
        return socket.AF_INET, (host, port)
    except OSError:
        pass
    plain, _, zone = host.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, plain)
        return socket.AF_INET6, (plain, port, 0, _scope(zone))
    except OSError:
        return None


def _scope(zone: str) -> int:
    """The number of the interface that a link-local host names after a `%`."""
    if not zone:
        return 0
    return int(zone) if zone.isascii() and zone.isdecimal() else socket.if_nametoindex(zone)


def format_address(target: SocketAddress) -> Address:
    """The address of what `recvfrom`, `accept` and `getsockname` answer."""
    host, port = target[0], target[1]
    if len(target) == 4:
        return f"[{host}%{target[3]}]:{port}" if target[3] else f"[{host}]:{port}"
    return f"{host}:{port}"


def is_wildcard(host: str) -> bool:
    """Whether a numeric host means every interface: to be listened on, not to be reached."""
    return host.partition("%")[0] in ("0.0.0.0", "::")


async def resolve(address: str, prefer: socket.AddressFamily | None = None) -> list[Target]:
    """Every target of an address, those of the preferred family first. A checkpoint.

    Raises ValueError for what is no address, and OSError (`socket.gaierror`) for a name that does not resolve."""
    target = numeric(address)
    if target is not None:
        await trio.lowlevel.checkpoint()
        return [target]
    host, port = split(address)
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # what the IDNA encoder calls an empty or overlong label
        raise ValueError(f"{address!r} is no address: {host!r} is not a host name") from error
    targets: list[Target] = []
    for family, _, _, _, place in found:
        if family == socket.AF_INET:
            targets.append((socket.AF_INET, (str(place[0]), int(place[1]))))
        elif family == socket.AF_INET6 and len(place) == 4:
            targets.append((socket.AF_INET6, (str(place[0]).partition("%")[0], int(place[1]), place[2], place[3])))
    targets.sort(key=lambda each: each[0] != prefer)
    return list(dict.fromkeys(targets))


def local_host_towards(target: Target) -> str | None:
    """The own numeric host from which a packet to `target` would leave, or None if none can. Sends nothing."""
    family, place = target
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(place)
        except OSError:
            return None
        return str(probe.getsockname()[0])
