"""What a node sends in one turn of the loop leaves together, and late by one turn at the most."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio
import trio.testing

from mesh.directives import Event
from mesh.outputs import Publish, Transmit
from mesh.shell.driver import TrioDriver
from mesh.shell.turns import MOST_INPUTS, OFTEN
from tests.mesh.shell_fakes import SECONDS, FakeNode, Note, give, opened

MS = 1_000_000


@pytest.fixture(autouse=True)
def _a_slow_machine_is_no_busy_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.shell.turns.LONG", 1 << 60)


class OwnError(Exception):
    """Of a planted bug."""


class Flushes:
    """Counts what leaves at each flush."""

    def __init__(self, node: FakeNode) -> None:
        self.sizes: list[int] = []
        self._flush = node.flush
        self._node = node
        node.flush = self  # type: ignore[method-assign]

    def __call__(self) -> None:
        if self._node.kept:
            self.sizes.append(len(self._node.kept))
        self._flush()


def say(driver: TrioDriver[FakeNode], far: TrioDriver[FakeNode], data: bytes) -> None:
    """A step that sends something, which is held."""
    driver.node.kept.append(Transmit(far.address, data))
    give(driver)


def heard(far: TrioDriver[FakeNode]) -> list[Any]:
    return [data for data, _ in far.node.of("datagram")]


async def test_what_tasks_send_in_one_turn_leaves_together_before_the_loop_waits() -> None:
    async with opened() as driver, opened() as far, trio.open_nursery() as nursery:
        flushes = Flushes(driver.node)

        async def one(data: bytes) -> None:
            say(driver, far, data)

        for data in (b"a", b"b", b"c"):
            nursery.start_soon(one, data)
        await far.node.hears("datagram", 3)
        assert sorted(heard(far)) == [b"a", b"b", b"c"]
        assert flushes.sizes == [3]


async def test_who_is_woken_in_that_turn_adds_to_it() -> None:
    async with opened() as driver, opened() as far, trio.open_nursery() as nursery:
        flushes = Flushes(driver.node)
        woken = trio.Event()

        async def second() -> None:
            await woken.wait()
            say(driver, far, b"b")

        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        say(driver, far, b"a")
        woken.set()
        await far.node.hears("datagram", 2)
        assert heard(far) == [b"a", b"b"] and flushes.sizes == [2]


async def test_a_program_that_never_rests_holds_nothing_back() -> None:
    async with opened() as driver, opened() as far:
        turns = 0
        say(driver, far, b"a")
        with trio.fail_after(SECONDS):
            while driver.node.kept:
                turns += 1
                await trio.lowlevel.checkpoint()
        assert turns <= 3
        await far.node.hears("datagram")


async def test_a_task_that_never_lets_go_does_not_hoard() -> None:
    async with opened() as driver, opened() as far:
        flushes = Flushes(driver.node)
        for n in range(3 * MOST_INPUTS):
            say(driver, far, b"%d" % n)
        assert len(driver.node.kept) < MOST_INPUTS
        await far.node.hears("datagram", 3 * MOST_INPUTS)
        assert max(flushes.sizes) <= MOST_INPUTS


async def test_a_subscriber_that_answers_is_told_in_order_also_when_very_many_have_been_said() -> None:
    async with opened() as driver:
        told: list[str] = []

        def answer(event: Event) -> None:
            assert isinstance(event, Note)
            told.append(event.text)
            if event.text in ("a", "b"):
                give(driver, Publish(Note(event.text.upper())))

        driver.subscribe(answer)
        for _ in range(2 * MOST_INPUTS):
            give(driver, Publish(Note("a")), Publish(Note("b")))
        assert told == ["a", "b", "A", "B"] * 2 * MOST_INPUTS


async def test_in_a_program_that_computes_for_long_everything_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.shell.turns.LONG", 20 * MS)
    async with opened() as driver, opened() as far:
        assert driver.node.holds
        for turn in range(OFTEN):
            await trio.sleep(0.001)
            say(driver, far, b"%d" % turn)
            time.sleep(0.03)  # noqa: ASYNC251  it keeps back what has been said
            await far.node.hears("datagram", turn + 1)
        assert not driver.node.holds
        await trio.sleep(0.01)
        assert not driver.node.holds, "it may do so again"
        monkeypatch.setattr("mesh.shell.turns.LATELY", 0)
        with trio.fail_after(SECONDS):
            while not driver.node.holds:
                await trio.sleep(0.001)
        say(driver, far, b"again")
        await far.node.hears("datagram", OFTEN + 1)


async def test_what_is_held_leaves_when_the_driver_ends() -> None:
    async with opened() as far:
        async with opened() as driver:
            say(driver, far, b"a")
        await far.node.hears("datagram")
        with pytest.raises(KeyError):
            trio.lowlevel.remove_instrument(driver._turns)


async def test_a_node_that_fails_to_let_it_leave_halts_the_driver() -> None:
    def fail() -> None:
        raise OwnError

    with trio.fail_after(SECONDS), pytest.raises(OwnError):
        async with opened() as driver, opened() as far:
            driver.node.flush = fail  # type: ignore[method-assign]
            say(driver, far, b"a")
            await trio.sleep_forever()


async def test_a_full_socket_is_tried_again_though_the_loop_was_about_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as driver, opened() as far:
        datagrams = driver._datagrams
        assert datagrams is not None
        full, sends = [True], datagrams._try

        def once(data: bytes, target: Any) -> bool:
            return False if full and full.pop() else sends(data, target)

        monkeypatch.setattr(type(datagrams), "_try", lambda self, data, target: once(data, target))
        say(driver, far, b"a")
        with trio.fail_after(SECONDS):
            await far.node.hears("datagram")
