"""Datagrams of the shell: both ways, refused, dropped, and waiting for the kernel."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVarTuple

import pytest
import trio
import trio.testing

from mesh.outputs import Transmit
from mesh.shell.datagrams import BATCH, Datagrams
from tests.mesh.shell_fakes import LOOPBACK, SECONDS, FakeNode, dead_port, descriptors_left, give, has_ipv6, opened

FAMILIES = [
    pytest.param(LOOPBACK, socket.AF_INET, id="ipv4"),
    pytest.param(
        "[::1]:0", socket.AF_INET6, id="ipv6", marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
    ),
]
Args = TypeVarTuple("Args")
linux = pytest.mark.skipif(sys.platform != "linux", reason="IP_RECVERR is Linux's")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    with descriptors_left() as left:
        yield
    assert left == [0]


@pytest.mark.parametrize(("bind", "family"), FAMILIES)
async def test_datagrams_pass_both_ways(bind: str, family: socket.AddressFamily) -> None:
    async with opened(bind) as a, opened(bind) as b:
        assert a.address.startswith("[::1]:" if family == socket.AF_INET6 else "127.0.0.1:")
        give(a, Transmit(b.address, b"ping"))
        assert await b.node.hears("datagram") == (b"ping", a.address)
        give(b, Transmit(a.address, b"pong"), Transmit(a.address, b""), Transmit(b.address, b"to myself"))
        await a.node.hears("datagram", 2)
        assert a.node.of("datagram") == [(b"pong", b.address), (b"", b.address)]
        assert await b.node.hears("datagram", 2) == (b"to myself", b.address)
        assert b.stats()["shell.udp_sent"] == 3 and b.stats()["shell.udp_received"] == 2


async def test_a_burst_is_drained_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have their turn after `DRAIN` datagrams, and the rest is read without a new one to wake for."""
    monkeypatch.setattr("mesh.shell.datagrams.DRAIN", 4)
    async with opened() as a, opened() as b:
        give(a, *[Transmit(b.address, bytes([n])) for n in range(50)])
        await b.node.hears("datagram", 50)
        assert [data[0] for data, _ in b.node.of("datagram")] == list(range(50))
        assert b.stats()["shell.udp_wakeups"] >= 50 / 4


async def test_a_burst_is_handled_in_batches_and_one_alone_at_once() -> None:
    async with opened() as a, opened() as b:
        for number in range(3):
            give(a, Transmit(b.address, b"alone"))
            await b.node.hears("datagram", number + 1)
        assert b.node.batches == []
        give(a, *[Transmit(b.address, bytes([n])) for n in range(50)])
        await b.node.hears("datagram", 53)
        assert [data[0] for data, _ in b.node.of("datagram")[3:]] == list(range(50))
        assert b.node.batches[:3] == [BATCH] * 3, "the first one is not kept waiting, and then the socket is full of others"


@linux
@pytest.mark.parametrize(("bind", "family"), FAMILIES)
async def test_a_refused_datagram_is_told(bind: str, family: socket.AddressFamily) -> None:
    dead, holder = dead_port(family)
    with holder:
        async with opened(bind) as driver:
            give(driver, Transmit(dead, b"anyone?"))
            assert await driver.node.hears("refused") == (dead,)
            await trio.testing.wait_all_tasks_blocked()
            assert driver.node.of("refused") == [(dead,)]


@linux
async def test_a_refusal_costs_no_other_datagram() -> None:
    """The kernel fails a later call for an earlier datagram: that one is sent all the same, and what was refused is named."""
    dead, holder = dead_port()
    with holder:
        async with opened() as a, opened() as b:
            for n in range(20):
                give(a, Transmit(dead, b"anyone?"), Transmit(b.address, bytes([n])))
            await b.node.hears("datagram", 20)
            await a.node.hears("refused")
            assert [data for data, _ in b.node.of("datagram")] == [bytes([n]) for n in range(20)]
            assert set(a.node.of("refused")) == {(dead,)}
            assert a.stats()["shell.udp_sent"] == 40
            give(b, Transmit(a.address, b"still there"))  # and its socket still reads
            await a.node.hears("datagram")


async def test_what_cannot_be_sent_is_counted_and_harms_nothing() -> None:
    async with opened() as a, opened() as b:
        for address in ("localhost:9", "[::1]:9", "127.0.0.1:0", "127.0.0.1", "", "127.0.0.1:99999", "::1:9"):
            give(a, Transmit(address, b"x"))
        assert a.stats()["shell.udp_unsendable"] == 7
        give(a, Transmit(b.address, bytes(70_000)))
        assert a.stats()["shell.udp_too_large"] == 1
        give(a, Transmit(b.address, b"fine"))
        await b.node.hears("datagram")
        assert b.node.of("datagram") == [(b"fine", a.address)]


async def test_what_is_above_every_sealed_datagram_is_dropped() -> None:
    async with opened() as a, opened() as b:
        give(a, Transmit(b.address, bytes(2_048)), Transmit(b.address, bytes(2_047)))
        await b.node.hears("datagram")
        assert [len(data) for data, _ in b.node.of("datagram")] == [2_047]
        assert b.stats()["shell.udp_oversize"] == 1


async def test_addresses_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.shell.datagrams.ADDRESSES", 8)
    async with opened() as a, opened() as b:
        for port in range(1, 100):
            give(a, Transmit(f"10.0.0.1:{port}.", b"no address"))
        give(a, Transmit(b.address, b"fine"))
        assert a._datagrams is not None and len(a._datagrams._targets) <= 8
        for _ in range(20):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.sendto(b"x", ("127.0.0.1", int(b.address.rpartition(":")[2])))
        await b.node.hears("datagram", 21)
        assert b._datagrams is not None and len(b._datagrams._addresses) <= 8


class FullSocket(socket.socket):
    """A socket whose buffer is full for so many attempts."""

    full = 0

    def sendto(self, *args: Any) -> int:
        if self.full:
            self.full -= 1
            raise BlockingIOError(11, "full")
        return super().sendto(*args)


class NurseryHost:
    """What the datagrams need of a driver, without one."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.counts: Counter[str] = Counter()
        self.deaf = False
        self.node = FakeNode()
        self._nursery = nursery

    def perform(self, datagrams: int = 1) -> None: ...

    def flush(self) -> bool:
        return False

    def spawn(self, task: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        self._nursery.start_soon(task, *args)


async def test_what_the_kernel_does_not_take_waits_in_order_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.shell.datagrams.QUEUE", 4)
    with FullSocket(socket.AF_INET, socket.SOCK_DGRAM) as udp, trio.fail_after(SECONDS):
        udp.setblocking(False)
        async with opened() as far, trio.open_nursery() as nursery:
            host = NurseryHost(nursery)
            datagrams = Datagrams(host, udp)
            udp.full = 3
            for n in range(10):
                datagrams.send(far.address, bytes([n]))
            assert datagrams.waiting == 4
            assert host.counts["udp_dropped"] == 6
            await datagrams.drained()
            assert datagrams.waiting == 0
            datagrams.send(far.address, b"\xff")
            await far.node.hears("datagram", 5)
            assert [data[0] for data, _ in far.node.of("datagram")] == [0, 1, 2, 3, 255]
            assert host.counts["udp_sent"] == 5
