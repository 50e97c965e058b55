"""The life of a driver: timers, commands, events, halts, and the ways out."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from crdt.clock import Instant
from mesh.directives import Directives, Event, Part
from mesh.driver import Driver, NodeLike
from mesh.errors import ClosedError, ForkedError, NameTakenError
from mesh.outputs import Connect, Halt, Publish, StreamClose, StreamWrite, Transmit
from mesh.shell import NO_ADDRESS, TrioDriver, open_driver, read_instant
from tests.mesh.shell_fakes import LOOPBACK, SECONDS, FakeNode, Note, descriptors_left, give, opened, until_cancelled

MS = 1_000_000


def taken() -> NameTakenError:
    return NameTakenError("web-1", "127.0.0.1:1")


class OwnError(Exception):
    """Of the body, or of a planted bug."""


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    with descriptors_left() as left:
        yield
    assert left == [0]


def is_a_driver(driver: TrioDriver[FakeNode]) -> Driver[NodeLike]:
    return driver


# --- start, stop, no network ---------------------------------------------------------------------------------------


async def test_a_node_is_started_driven_and_stopped() -> None:
    async with opened() as driver:
        node = driver.node
        assert is_a_driver(driver).node is node
        assert driver.address == node.address == driver.bound
        assert node.address.startswith("127.0.0.1:") and not node.address.endswith(":0")
        assert node.heard == [("start",)]
    assert node.heard == [("start",), ("stop",)]
    for refused in (driver.check, lambda: give(driver, Publish(Note("late")))):
        with pytest.raises(ClosedError):
            refused()


async def test_without_a_network_there_are_no_sockets_and_one_task() -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living
    with descriptors_left() as left:
        async with opened(bind=None) as driver:
            assert driver.address == driver.node.address == NO_ADDRESS
            await trio.testing.wait_all_tasks_blocked()
            # The one that holds the others, and the one of the timers.
            assert trio.lowlevel.current_statistics().tasks_living == tasks + 2
            give(driver, Transmit("127.0.0.1:9", b"to nobody"))
            assert driver.stats()["shell.unsendable"] == 1
            driver.node.timer = read_instant().mono + 5 * MS
            give(driver)
            await driver.node.hears("due")
            with descriptors_left() as within:
                pass
    assert left == within == [0]


async def test_a_failing_build_leaves_nothing() -> None:
    def build(address: str) -> FakeNode:
        raise OwnError

    with descriptors_left() as left, pytest.raises(OwnError):
        async with open_driver(build, bind=LOOPBACK):
            pytest.fail("unreachable")
    assert left == [0]


@pytest.mark.parametrize("bind", [None, LOOPBACK])
async def test_opening_in_a_cancelled_scope_starts_nothing(bind: str | None) -> None:
    nodes: list[FakeNode] = []

    def build(address: str) -> FakeNode:
        nodes.append(FakeNode())
        return nodes[-1]

    with trio.fail_after(SECONDS), trio.CancelScope() as scope:
        scope.cancel()
        async with open_driver(build, bind=bind):
            pytest.fail("entered")
    assert scope.cancelled_caught
    assert all(node.heard == [] for node in nodes)


# --- timers --------------------------------------------------------------------------------------------------------


async def test_a_timer_fires_and_may_arm_the_next() -> None:
    async with opened(bind=None) as driver:
        node = driver.node

        def react(entry: tuple[object, ...]) -> None:
            if entry == ("due",) and len(node.of("due")) < 3:
                node.timer = read_instant().mono + 5 * MS

        node.react = react
        node.timer = read_instant().mono + 5 * MS
        give(driver)
        await node.hears("due", 3)


async def test_a_command_moves_the_timer_forward() -> None:
    async with opened(bind=None) as driver:
        node = driver.node
        node.timer = read_instant().mono + 3_600_000 * MS
        give(driver)
        await trio.testing.wait_all_tasks_blocked()  # its task sleeps for an hour now
        node.timer = read_instant().mono + 20 * MS
        give(driver)
        await node.hears("due")


async def test_a_datagram_moves_the_timer_forward() -> None:
    async with opened() as a, opened() as b:
        await trio.testing.wait_all_tasks_blocked()

        def react(entry: tuple[object, ...]) -> None:
            if entry[0] == "datagram":
                b.node.timer = read_instant().mono + 5 * MS

        b.node.react = react
        give(a, Transmit(b.address, b"wake up"))
        await b.node.hears("due")


async def test_a_timer_that_was_put_off_does_not_fire_early() -> None:
    async with opened(bind=None) as driver:
        node = driver.node
        node.timer = read_instant().mono + 10 * MS
        give(driver)
        await trio.testing.wait_all_tasks_blocked()
        node.timer = late = read_instant().mono + 60 * MS
        give(driver)
        await node.hears("due")  # the node itself asserts that it was due
        assert read_instant().mono >= late


# --- events --------------------------------------------------------------------------------------------------------


async def test_events_before_the_first_subscription_are_held() -> None:
    async with opened(bind=None) as driver:
        give(driver, Publish(Note("1")), Publish(Note("2")))
        first: list[Event] = []
        second: list[Event] = []
        end = driver.subscribe(first.append)
        assert first == [Note("1"), Note("2")]
        driver.subscribe(second.append)
        give(driver, Publish(Note("3")))
        end()
        give(driver, Publish(Note("4")))
        assert first == [Note("1"), Note("2"), Note("3")]
        assert second == [Note("3"), Note("4")]


async def test_events_keep_their_order_when_a_subscriber_commands() -> None:
    """What a command publishes comes after all that was published before, also while held events are given."""
    async with opened(bind=None) as driver:
        seen: list[str] = []

        def callback(event: Event) -> None:
            assert isinstance(event, Note)
            seen.append(event.text)
            if len(event.text) == 1:
                give(driver, Publish(Note(event.text + "'")))

        give(driver, Publish(Note("1")), Publish(Note("2")))
        driver.subscribe(callback)
        give(driver, Publish(Note("3")), Publish(Note("4")))
        assert seen == ["1", "2", "1'", "2'", "3", "4", "3'", "4'"]


async def test_held_events_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.shell.driver.HELD_EVENTS", 2)
    async with opened(bind=None) as driver:
        give(driver, *[Publish(Note(str(n))) for n in range(5)])
        seen: list[Event] = []
        driver.subscribe(seen.append)
        assert seen == [Note("0"), Note("1")]
        assert driver.stats()["shell.events_dropped"] == 3


@pytest.mark.parametrize("held", [False, True])
async def test_a_subscriber_that_raises_halts(held: bool) -> None:
    def broken(event: Event) -> None:
        raise OwnError(event)

    seen: list[Event] = []
    with pytest.raises(OwnError):
        async with opened(bind=None) as driver:
            if held:
                give(driver, Publish(Note("x")))
                driver.subscribe(broken)
            else:
                driver.subscribe(broken)
                driver.subscribe(seen.append)
                with pytest.raises(OwnError):
                    give(driver, Publish(Note("x")))
                assert seen == [Note("x")], "the others must not miss it"
            await until_cancelled()
    assert driver.node.heard[-1] == ("stop",), "the node is sound: it says its last"


# --- halts ---------------------------------------------------------------------------------------------------------


async def test_a_halt_in_the_background_cancels_the_body_and_is_raised_bare() -> None:
    reason = taken()
    cleaned = False
    with pytest.raises(NameTakenError) as caught:
        async with opened() as a:
            with pytest.raises(NameTakenError):
                async with opened() as b:
                    b.node.react = lambda entry: b.node.says.append(Halt(reason)) if entry[0] == "datagram" else None
                    give(a, Transmit(b.address, b"?"))
                    try:
                        async with trio.open_nursery() as nursery:
                            nursery.start_soon(until_cancelled)
                    finally:
                        cleaned = True
                        with pytest.raises(NameTakenError):
                            give(b)
            assert cleaned and b.deaf
            assert b.node.heard[-1] == ("stop",)
            with pytest.raises(NameTakenError):
                give(a, Halt(reason))
            await until_cancelled()
    assert caught.value is reason


async def test_a_halt_at_the_start_enters_no_body() -> None:
    def build(address: str) -> FakeNode:
        node = FakeNode()
        node.on_start = [Halt(taken())]
        return node

    with pytest.raises(NameTakenError):
        async with open_driver(build, bind=LOOPBACK):
            pytest.fail("entered")


async def test_a_halt_is_raised_even_if_the_body_ends_well() -> None:
    with pytest.raises(NameTakenError):
        async with opened(bind=None) as driver:
            with pytest.raises(NameTakenError):
                give(driver, Halt(taken()))


async def test_the_reason_leaves_alone_whatever_a_halted_body_makes_of_it() -> None:
    reason = taken()
    with pytest.raises(NameTakenError) as caught:
        async with opened(bind=None) as driver, trio.open_nursery() as nursery:
            nursery.start_soon(until_cancelled)

            async def work() -> None:
                give(driver, Halt(reason))

            nursery.start_soon(work)
    assert caught.value is reason
    assert caught.value.__context__ is None


async def test_an_error_after_the_halt_stands_in_its_context() -> None:
    with pytest.raises(NameTakenError) as caught:
        async with opened(bind=None) as driver:
            driver.node.react = lambda entry: driver.node.says.append(Halt(NameTakenError("a", "b")))
            driver.node.timer = read_instant().mono
            give(driver)
            try:
                await until_cancelled()
            finally:
                raise OwnError
    assert isinstance(caught.value.__context__, OwnError)


async def test_an_exception_of_the_body_wins_if_it_came_first(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OwnError) as caught:
        async with opened(bind=None) as driver:
            driver.node.last_words = [Halt(taken())]
            raise OwnError
    assert caught.value.__context__ is None
    assert "halted" in caplog.text and "web-1" in caplog.text


async def test_a_group_of_the_body_stays_a_group() -> None:
    async def fail() -> None:
        raise OwnError

    with pytest.raises(ExceptionGroup) as caught:
        async with opened(bind=None), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
    assert [type(each) for each in caught.value.exceptions] == [OwnError]
    assert caught.value.__context__ is None


async def test_a_halt_is_told_to_a_cancelled_caller_too() -> None:
    reason = taken()
    with pytest.raises(NameTakenError) as caught, trio.CancelScope() as scope:
        async with opened(bind=None) as driver:
            scope.cancel()
            driver.node.last_words = [Halt(reason)]
            await until_cancelled()
    assert caught.value is reason


async def test_a_step_that_raises_halts_and_nothing_more_is_told() -> None:
    async with opened() as a:
        with pytest.raises(OwnError):
            async with opened() as b:

                def broken(entry: object) -> None:
                    raise OwnError(entry)

                b.node.react = broken
                give(a, Transmit(b.address, b"1"), Transmit(b.address, b"2"))
                await until_cancelled()
        assert b.node.heard == [("start",), ("datagram", b"1", a.address)]


async def test_a_command_that_raises_halts() -> None:
    class Broken(FakeNode):
        def command(self, part: Part, directives: Directives, now: Instant) -> None:
            raise OwnError

    with pytest.raises(OwnError):
        async with open_driver(Broken) as driver:
            with pytest.raises(OwnError):
                give(driver)
            with pytest.raises(OwnError):
                driver.check()
            await until_cancelled()
    assert driver.node.heard == [("start",)]


async def test_an_unknown_output_halts() -> None:
    with pytest.raises(TypeError, match="no output"):
        async with opened(bind=None) as driver:
            driver.command(None, ["nonsense"])  # type: ignore[arg-type, list-item]


# --- leaving -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["end", "cancelled", "error", "halt"])
async def test_the_node_says_its_last_however_it_is_left(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.shell.driver.FLUSH_SECONDS", SECONDS)  # of bytes that the kernel does not take at once
    words = b"last word" * 1_000_000
    async with opened() as a, AsyncExitStack() as stack:
        scope = stack.enter_context(trio.CancelScope())
        if way in ("error", "halt"):
            stack.enter_context(pytest.raises(OwnError))
        async with opened() as b:
            give(b, Connect(7, a.address))
            await b.node.hears("connected")
            b.node.last_words = [Transmit(a.address, b"bye"), StreamWrite(7, words[:5_000_000])]
            b.node.last_words += [StreamWrite(7, words[5_000_000:]), StreamClose(7)]
            if way == "cancelled":
                scope.cancel()
                await until_cancelled()
            elif way == "error":
                raise OwnError
            elif way == "halt":
                give(b, Halt(OwnError()))
        assert b.node.heard[-1] == ("stop",)
    if way == "cancelled":
        assert scope.cancelled_caught
    await a.node.until(lambda: a.node.ends(1))
    assert a.node.received(1) == words
    assert a.node.ends(1) == ["closed"]
    assert a.node.of("datagram") == [(b"bye", b.address)]


async def test_leaving_does_not_wait_for_a_far_end_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.shell.driver.FLUSH_SECONDS", 0.1)
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen()
    with listener, trio.fail_after(SECONDS):
        async with opened() as driver:
            give(driver, Connect(1, f"127.0.0.1:{listener.getsockname()[1]}"))
            far, _ = await listener.accept()
            await driver.node.hears("connected")
            give(driver, StreamWrite(1, bytes(8 << 20)))
            assert driver.stats()["shell.stream_backlog_bytes"] > 0
            before = trio.current_time()
        assert trio.current_time() - before < 5
        with far, pytest.raises(ConnectionResetError):
            while await far.recv(1 << 20):
                pass


@pytest.mark.parametrize("moment", ["body", "sleep", "step", "end"])
def test_an_interrupt_from_the_keyboard_leaves_nothing(moment: str) -> None:
    driver: TrioDriver[FakeNode] | None = None

    def interrupt(entry: tuple[object, ...]) -> None:
        if entry[0] in (moment, "due"):
            signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        nonlocal driver
        async with opened() as driver:
            driver.node.react = interrupt
            if moment == "body":
                signal.raise_signal(signal.SIGINT)
            elif moment == "sleep":
                trio.lowlevel.current_trio_token().run_sync_soon(signal.raise_signal, signal.SIGINT)
            elif moment == "step":
                driver.node.timer = read_instant().mono
                give(driver)
            if moment != "end":
                await until_cancelled()
            driver.node.react = lambda entry: signal.raise_signal(signal.SIGINT) if entry == ("stop",) else None

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert driver is not None
    assert driver.node.heard[-1] == ("stop",)
    assert driver.failed is None


# --- forks ---------------------------------------------------------------------------------------------------------


async def test_a_fork_is_refused_and_sends_nothing() -> None:
    async with opened() as a, opened() as b:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                give(a, Transmit(b.address, b"from the child"))
            except ForkedError as error:
                a.node.says = [Transmit(b.address, b"from the child")]
                a.perform()
                code = 0 if str(os.getpid()) in str(error) and a.deaf else 2
            finally:
                os._exit(code)
        _, status = await trio.to_thread.run_sync(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        give(a, Transmit(b.address, b"from the parent"))
        await b.node.hears("datagram")
        assert b.node.of("datagram") == [(b"from the parent", a.address)]
