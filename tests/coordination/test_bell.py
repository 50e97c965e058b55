"""Many that wait, woken portion by portion: nobody is forgotten, and others have their turn in between."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from coordination.bell import PORTION, Belfry, Bell

MANY = 5 * PORTION + 3


class Waiting:
    """Tasks, each at a bell of its own, that note when they are woken."""

    def __init__(self) -> None:
        self.belfry = Belfry()
        self.bells = [Bell(self.belfry) for _ in range(MANY)]
        self.scopes = [trio.CancelScope() for _ in self.bells]
        self.woken: list[int] = []

    async def wait(self, number: int) -> None:
        with self.scopes[number]:
            await self.bells[number].wait()
            self.woken.append(number)

    def ring(self) -> None:
        self.belfry.begin()
        for bell in self.bells:
            bell.ring()


async def test_all_are_woken_and_never_more_than_two_portions_at_once() -> None:
    waiting = Waiting()
    async with trio.open_nursery() as nursery:
        for number in range(MANY):
            nursery.start_soon(waiting.wait, number)
        await trio.testing.wait_all_tasks_blocked()
        waiting.ring()
        turns = 0
        with trio.fail_after(5):
            while (before := len(waiting.woken)) < MANY:
                waiting.ring()  # again, while most are in line: that changes nothing
                await trio.lowlevel.checkpoint()
                turns += 1
                assert len(waiting.woken) - before <= 2 * PORTION
    assert sorted(waiting.woken) == list(range(MANY)) and turns >= MANY // (2 * PORTION)


async def test_a_few_are_woken_at_once() -> None:
    waiting = Waiting()
    async with trio.open_nursery() as nursery:
        for number in range(PORTION):
            nursery.start_soon(waiting.wait, number)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):  # those who do not wait take nobody's place
            waiting.ring()
        assert not waiting.belfry._line
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert len(waiting.woken) == PORTION


@pytest.mark.parametrize("step", [1, 2, 7])
async def test_who_is_cancelled_in_line_keeps_nobody_from_waking(step: int) -> None:
    waiting = Waiting()
    async with trio.open_nursery() as nursery:
        for number in range(MANY):
            nursery.start_soon(waiting.wait, number)
        await trio.testing.wait_all_tasks_blocked()
        waiting.ring()
        cancelled = set(range(PORTION, MANY, step))
        for number in cancelled:
            waiting.scopes[number].cancel()
    assert sorted(waiting.woken) == sorted(set(range(MANY)) - cancelled)


async def test_who_waits_again_while_it_is_in_line_still_is_woken_once_a_ring() -> None:
    """Cancelled in line, and back before its turn: its old place does not count; the next ring does."""
    waiting = Waiting()
    async with trio.open_nursery() as nursery:
        for number in range(MANY):
            nursery.start_soon(waiting.wait, number)
        await trio.testing.wait_all_tasks_blocked()
        waiting.ring()
        waiting.scopes[-1].cancel()
        await trio.lowlevel.checkpoint()
        waiting.scopes[-1] = trio.CancelScope()
        nursery.start_soon(waiting.wait, MANY - 1)
        await trio.testing.wait_all_tasks_blocked()
        assert MANY - 1 not in waiting.woken
        waiting.ring()
    assert sorted(waiting.woken) == list(range(MANY))
