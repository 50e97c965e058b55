"""Streams of the shell: each has one beginning and one end, and nothing that was written before a close is lost."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from random import Random

import pytest
import trio
import trio.testing

from mesh.outputs import Connect, StreamClose, StreamWrite
from mesh.shell import TrioDriver
from mesh.shell.resolve import Target
from mesh.shell.streams import _connect
from tests.mesh.shell_fakes import LOOPBACK, SECONDS, FakeNode, dead_port, descriptors_left, give, has_ipv6, opened

WAITS = 9_000_000
"""Bytes: more than the kernel takes at once, but what then waits is within the bound."""

RESET = struct.pack("ii", 1, 0)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    with descriptors_left() as left:
        yield
    assert left == [0]


class Far:
    """A far end that does what a node would not."""

    def __init__(self) -> None:
        self.listener = trio.socket.socket()
        self.address = ""

    async def __aenter__(self) -> Far:
        await self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        return self

    async def __aexit__(self, *details: object) -> None:
        self.listener.close()

    async def dialled(self, driver: TrioDriver[FakeNode], number: int) -> trio.socket.SocketType:
        give(driver, Connect(number, self.address))
        with trio.fail_after(SECONDS):
            sock, _ = await self.listener.accept()
            await driver.node.until(lambda: (number,) in driver.node.of("connected"))
        return sock


async def gone(driver: TrioDriver[FakeNode]) -> None:
    """Wait until no stream is left."""
    with trio.fail_after(SECONDS):
        while driver.stats()["shell.streams"]:
            await trio.lowlevel.checkpoint()


async def all_of(sock: trio.socket.SocketType) -> bytes:
    received = bytearray()
    with trio.fail_after(SECONDS):
        while data := await sock.recv(1 << 20):
            received += data
    return bytes(received)


# --- both ways -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bind", [LOOPBACK, pytest.param("[::1]:0", marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6"))]
)
async def test_bytes_pass_both_ways_in_order(bind: str) -> None:
    async with opened(bind) as a, opened(bind) as b:
        give(a, Connect(1_001, b.address))
        number, address = await b.node.hears("accept")
        assert address.rpartition(":")[0] == a.address.rpartition(":")[0]
        assert await a.node.hears("connected") == (1_001,)
        there = Random(1).randbytes(WAITS)
        back = Random(2).randbytes(WAITS)
        for at in range(0, len(there), 100_000):
            give(a, StreamWrite(1_001, there[at : at + 100_000]))
            give(b, StreamWrite(number, back[at : at + 100_000]))
        assert a.stats()["shell.stream_backlog_bytes"] > 0
        await b.node.until(lambda: len(b.node.received(number)) >= len(there))
        await a.node.until(lambda: len(a.node.received(1_001)) >= len(back))
        assert b.node.received(number) == there and a.node.received(1_001) == back
        assert a.stats()["shell.stream_backlog_bytes"] == 0
        assert a.stats()["shell.streams"] == b.stats()["shell.streams"] == 1


async def test_without_a_network_nothing_is_dialled_by_itself() -> None:
    async with opened() as b, opened(bind=None) as a:
        give(a, Connect(1, b.address), StreamWrite(1, b"too early"), StreamWrite(2, b"to none"))
        await a.node.hears("connected")
        assert a.stats()["shell.tcp_unwritable"] == 2
        assert b.node.of("stream") == []


# --- every end -----------------------------------------------------------------------------------------------------


async def test_nothing_listens_there() -> None:
    dead, holder = dead_port()
    with holder:
        async with opened() as driver:
            give(driver, Connect(1, dead))
            await driver.node.hears("end")
            await gone(driver)
            assert driver.node.ends(1) == ["refused"] and driver.node.of("connected") == []


async def test_silence_ends_a_dial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.shell.streams.CONNECT_SECONDS", 0.3)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]  # once its queue is full, the kernel answers no further one
        try:
            for each in fillers:
                each.setblocking(False)
                each.connect_ex(listener.getsockname())
            async with opened() as driver:
                give(driver, Connect(1, f"127.0.0.1:{listener.getsockname()[1]}"))
                await driver.node.hears("end")
                await gone(driver)
                assert driver.node.ends(1) == ["silent"] and driver.node.of("connected") == []
        finally:
            for each in fillers:
                each.close()


@pytest.mark.parametrize("reason", ["closed", "reset"])
async def test_the_far_end_ends_it(reason: str) -> None:
    async with Far() as far, opened() as driver:
        sock = await far.dialled(driver, 1)
        await sock.send(b"last words")
        await driver.node.hears("stream")
        if reason == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()
        await driver.node.hears("end")
        await gone(driver)
        assert driver.node.received(1) == b"last words"
        assert driver.node.ends(1) == [reason]
        give(driver, StreamWrite(1, b"too late"), StreamClose(1))
        assert driver.stats()["shell.tcp_unwritable"] == 1


async def test_a_write_that_meets_a_reset_ends_once() -> None:
    async with Far() as far, opened() as driver:
        sock = await far.dialled(driver, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()
        for _ in range(50):
            give(driver, StreamWrite(1, b"x" * 1_000))
        await driver.node.hears("end")
        await gone(driver)
        assert driver.node.ends(1) == ["reset"]


async def test_a_close_delivers_everything_and_is_no_end_here() -> None:
    body = Random(3).randbytes(WAITS)
    async with opened() as a, opened() as b:
        give(a, Connect(7, b.address))
        await a.node.hears("connected")
        give(a, StreamWrite(7, body[:1_000_000]), StreamWrite(7, body[1_000_000:]))
        assert a.stats()["shell.stream_backlog_bytes"] > 0
        give(a, StreamClose(7), StreamClose(7), StreamWrite(7, b"after the close"))
        await b.node.hears("end")
        assert b.node.received(1) == body and b.node.ends(1) == ["closed"]
        await gone(a)
        assert a.node.ends(7) == []


async def test_a_close_delivers_while_the_far_end_still_talks() -> None:
    """Closing a socket with unread bytes would reset it, and the last words would be lost."""
    async with Far() as far, opened() as driver:
        sock = await far.dialled(driver, 1)
        with sock:
            await sock.send(b"unread" * 1_000)
            give(driver, StreamWrite(1, b"last words"), StreamClose(1))
            heard = list(driver.node.heard)
            assert await all_of(sock) == b"last words"
            await sock.send(b"more" * 1_000)
            await trio.testing.wait_all_tasks_blocked()
            assert driver.stats()["shell.streams"] == 1
        await gone(driver)
        assert driver.node.heard == heard, "the node wants nothing more of it"


async def test_a_close_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.shell.streams.CLOSE_SECONDS", 0.05)
    async with Far() as far, opened() as driver:
        with await far.dialled(driver, 1):  # it neither reads nor closes
            give(driver, StreamWrite(1, b"x"), StreamClose(1))
            await gone(driver)
            assert driver.node.of("end") == []


@pytest.mark.parametrize("listening", [False, True])
async def test_a_close_while_dialling_is_the_last_of_it(listening: bool) -> None:
    dead, holder = dead_port()
    with holder:
        async with opened() as a, opened() as b:
            give(a, Connect(1, b.address if listening else dead), StreamClose(1))
            await gone(a)
            assert a.node.heard == [("start",)]


async def test_a_close_of_a_connection_that_is_not_told_yet_is_the_last_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as a, opened() as b:

        async def connect_and_lag(target: Target) -> tuple[socket.socket | None, str]:
            connected = await _connect(target)
            give(a, StreamClose(1))
            return connected

        monkeypatch.setattr("mesh.shell.streams._connect", connect_and_lag)
        give(a, Connect(1, b.address))
        await b.node.hears("end")
        await gone(a)
        assert a.node.heard == [("start",)]


# --- bounds --------------------------------------------------------------------------------------------------------


async def test_a_far_end_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = 200_000
    monkeypatch.setattr("mesh.shell.streams.BACKLOG_BYTES", bound)
    async with Far() as far, opened() as driver:
        with await far.dialled(driver, 1) as sock:
            for written in range(100_000):  # noqa: B007
                give(driver, StreamWrite(1, bytes(50_000)))
                assert driver.stats()["shell.stream_backlog_bytes"] <= bound
                if driver.stats().get("shell.tcp_overrun"):
                    break
            await driver.node.hears("end")
            await gone(driver)
            assert driver.node.ends(1) == ["reset"]
            assert driver.stats()["shell.tcp_overrun"] == 1 and written > 4
            with pytest.raises(ConnectionResetError):
                await all_of(sock)


async def test_below_the_bound_everything_waits_for_a_slow_reader() -> None:
    body = Random(4).randbytes(WAITS)
    async with Far() as far, opened() as driver:
        with await far.dialled(driver, 1) as sock:
            for at in range(0, len(body), 70_000):
                give(driver, StreamWrite(1, body[at : at + 70_000]))
            give(driver, StreamClose(1))
            assert await all_of(sock) == body
        await gone(driver)
        assert driver.node.of("end") == []


@pytest.mark.parametrize("bound", ["ACCEPTED_STREAMS", "SOURCE_STREAMS"])
async def test_accepted_streams_are_bounded(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"mesh.shell.streams.{bound}", 2)
    if bound == "SOURCE_STREAMS":
        monkeypatch.setattr("mesh.shell.streams._source", lambda place: place[0])  # loopback is exempt
    async with opened() as a, opened() as b:
        for number in (1, 2):
            give(a, Connect(number, b.address))
            await b.node.hears("accept", number)
        give(a, Connect(3, b.address))
        assert await a.node.hears("end") in [(3, "reset"), (3, "refused")]  # whichever the kernel says first
        assert len(b.node.of("accept")) == 2 and b.stats()["shell.tcp_accept_refused"] == 1
        give(a, StreamClose(1))
        await b.node.hears("end")
        give(a, Connect(4, b.address))
        await b.node.hears("accept", 3)
        assert a.node.ends(4) == []


# --- the law -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
async def test_each_stream_ends_exactly_once(seed: int) -> None:
    """Whoever closes, whenever: one end at most where it was not closed, none where it was, and no input after either."""
    random = Random(seed)
    closed: dict[str, set[int]] = {"a": set(), "b": set()}
    async with opened() as a, opened() as b:
        sides = {"a": a, "b": b}

        def act(side: str, number: int) -> None:
            node = sides[side].node
            if number in closed[side] or node.ends(number):
                return
            if random.random() < 0.3:
                closed[side].add(number)
                give(sides[side], StreamClose(number))
            else:
                give(sides[side], StreamWrite(number, random.randbytes(random.choice([1, 1_000, 100_000]))))

        dialled = 0
        for _ in range(600):
            if dialled < 40 and random.random() < 0.2:
                dialled += 1
                give(a, Connect(1_000 + dialled, b.address))
            elif a.node.of("connected") and random.random() < 0.5:
                act("a", random.choice(a.node.of("connected"))[0])
            elif b.node.of("accept"):
                act("b", random.choice(b.node.of("accept"))[0])
            if random.random() < 0.3:
                await trio.lowlevel.checkpoint()
        await a.node.hears("connected", dialled)
        await b.node.hears("accept", dialled)
        for (number,) in a.node.of("connected"):
            if number not in closed["a"] and not a.node.ends(number):
                closed["a"].add(number)
                give(a, StreamClose(number))
        await gone(a)
        await gone(b)
        for side, driver in sides.items():
            opened_here = [each[0] for each in driver.node.of("connected") + driver.node.of("accept")]
            assert len(opened_here) == dialled
            for number in opened_here:
                ends = driver.node.ends(number)
                assert len(ends) == (0 if number in closed[side] else 1), (side, number, ends)
                if ends:
                    entries = [entry for entry in driver.node.heard if entry[0] in ("stream", "end") and entry[1] == number]
                    assert entries[-1][0] == "end"
