"""Where a node listens and what it tells others; what cannot be bound is refused with a clear sentence."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio

from mesh.errors import BindFailedError
from mesh.outputs import Connect
from mesh.shell.resolve import format_address, numeric, split
from tests.mesh.shell_fakes import LOOPBACK, descriptors_left, give, has_ipv6, opened

ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    with descriptors_left() as left:
        yield
    assert left == [0]


class Names:
    """A name service for one test."""

    def __init__(self, **hosts: list[str]) -> None:
        self.hosts = hosts
        self.asked: list[str] = []

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]]:
        name = host.decode() if isinstance(host, bytes) else str(host)
        self.asked.append(name)
        await trio.lowlevel.checkpoint()
        if name not in self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", (each, int(port or 0))) for each in self.hosts[name]]

    async def getnameinfo(self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int) -> tuple[str, str]:
        raise NotImplementedError


def resolver(**hosts: list[str]) -> Names:
    names = Names(**hosts)
    trio.socket.set_custom_hostname_resolver(names)  # type: ignore[arg-type]  # it answers for IPv4 alone
    return names


async def refused(bind: str, **options: str) -> str:
    with descriptors_left() as left, pytest.raises(BindFailedError) as caught:
        async with opened(bind, **options):
            pytest.fail("entered")
    assert left == [0]
    return str(caught.value)


async def test_udp_and_tcp_share_one_port() -> None:
    async with opened() as driver:
        assert driver._sockets is not None
        assert driver._sockets.udp.getsockname() == driver._sockets.tcp.getsockname()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
async def test_a_taken_port_is_refused(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            holder.listen()
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        sentence = await refused(address)
    assert sentence == f"cannot bind '{address}': the port is taken by another process: choose another, or 0 for any"


async def test_a_running_node_keeps_its_port() -> None:
    async with opened() as driver:
        assert "taken" in await refused(driver.address)


async def test_a_port_is_free_again_at_once() -> None:
    """Also after connections, whose remains linger in the kernel."""
    async with opened() as a:
        async with opened() as b:
            give(b, Connect(1_001, a.address))
            give(a, Connect(1_002, b.address))
            await b.node.hears("connected")
            await a.node.hears("connected")
        async with opened(b.address) as again:
            assert again.address == b.address


@pytest.mark.parametrize(
    ("bind", "words"),
    [
        ("203.0.113.7:0", "no interface of this machine has that address"),
        ("0.0.0.0:0", "say with `advertise` which address others can reach"),
        pytest.param("[::]:0", "say with `advertise` which address others can reach", marks=ipv6),
        ("nowhere.test:0", "its host name does not resolve"),
        ("127.0.0.1", "write HOST:PORT"),
        ("127.0.0.1:http", "write HOST:PORT"),
        ("127.0.0.1:65536", "write HOST:PORT"),
        ("::1:7946", "in brackets"),
        (":7946", "host is missing"),
    ],
)
async def test_what_cannot_be_bound_is_refused_with_a_reason(bind: str, words: str) -> None:
    resolver()
    sentence = await refused(bind)
    assert sentence.startswith(f"cannot bind '{bind}': ") and words in sentence


async def test_what_cannot_be_advertised_is_refused() -> None:
    resolver()
    assert "cannot be advertised" in await refused(LOOPBACK, advertise="0.0.0.0:7946")
    assert "does not resolve" in await refused(LOOPBACK, advertise="nowhere.test:7946")


async def test_the_advertised_address_is_numeric_and_has_a_port() -> None:
    resolver(**{"web-1.test": ["192.0.2.1"]})
    async with opened("0.0.0.0:0", advertise="web-1.test:0") as driver:
        port = driver.bound.rpartition(":")[2]
        assert driver.bound == f"0.0.0.0:{port}"
        assert driver.address == driver.node.address == f"192.0.2.1:{port}"
    async with opened(LOOPBACK, advertise="192.0.2.1:81") as driver:
        assert driver.address == "192.0.2.1:81"


async def test_bind_takes_a_name() -> None:
    resolver(here=["203.0.113.7", "127.0.0.1"])
    async with opened("here:0") as driver:  # the first address is none of this machine's
        assert driver.address.startswith("127.0.0.1:")


async def test_names_are_resolved_at_each_dial() -> None:
    """Nowhere, then at an address where nothing listens, then there too but also where the node is."""
    names = resolver()
    async with opened() as a, opened() as b:
        seed = f"seed.test:{b.address.rpartition(':')[2]}"
        give(a, Connect(1, seed))
        assert await a.node.hears("end") == (1, "unresolved")
        names.hosts["seed.test"] = ["127.0.0.2"]
        give(a, Connect(2, seed))
        assert await a.node.hears("end", 2) == (2, "refused")
        names.hosts["seed.test"] = ["127.0.0.2", "127.0.0.1"]
        give(a, Connect(3, seed))
        assert await a.node.hears("connected") == (3,)
        assert names.asked == ["seed.test"] * 3
        for number, nonsense in enumerate(("nowhere", "::1:1", f"{'a' * 300}.test:1"), 4):
            give(a, Connect(number, nonsense))
            assert await a.node.hears("end", number - 1) == (number, "unresolved")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:2", "[fe80::1%1]:3"])
def test_addresses_are_read_as_they_are_written(address: str) -> None:
    target = numeric(address)
    assert target is not None and format_address(target[1]) == address
    assert split("[::1]:2") == ("::1", 2)
    assert numeric("localhost:1") is None
