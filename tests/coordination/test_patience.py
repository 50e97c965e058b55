"""Waits for the confirmation of a release: shielded, and bounded by one task for all of them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from coordination.agreed.vocabulary.events import Released
from coordination.dispatch import Mailbox, Waiting
from coordination.errors import Closed
from coordination.patience import Patience


def living() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def outlast(patience: Patience, mailbox: Mailbox) -> float:
    """Seconds for which it lasts."""
    began = trio.current_time()
    with mailbox.expecting(Released) as waiting:
        await patience.outlast(waiting)
    return trio.current_time() - began


async def test_it_ends_with_the_event_and_else_with_its_time(autojump_clock: trio.testing.MockClock) -> None:
    patience, took = Patience(1.0), dict[int, float]()
    mailboxes = [Mailbox() for _ in range(4)]

    async def one(number: int) -> None:
        await trio.sleep(0.3 * number)
        took[number] = await outlast(patience, mailboxes[number])

    before = living()
    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(one, number)
        await trio.sleep(0.7)
        mailboxes[2].put(Released(2))
        mailboxes[1].put(Released(1))
    assert {number: round(seconds, 6) for number, seconds in took.items()} == {0: 1.0, 1: 0.4, 2: 0.1, 3: 1.0}
    await trio.testing.wait_all_tasks_blocked()
    assert living() == before, "the task that sees to them outlives them"
    assert round(await outlast(patience, mailboxes[0]), 6) == 1.0, "it is there again when it is needed again"


async def test_cancellation_waits_for_it(autojump_clock: trio.testing.MockClock) -> None:
    patience, mailbox, began = Patience(1.0), Mailbox(), trio.current_time()
    with trio.move_on_after(0.1) as scope:
        with mailbox.expecting(Released) as waiting:
            mailbox.put(Released(1))
            scope.cancel()
            await patience.outlast(waiting)  # told already: shielded all the same
        await outlast(patience, mailbox)
        await trio.sleep_forever()
    assert scope.cancelled_caught and round(trio.current_time() - began, 6) == 1.0


async def test_who_waits_is_told_that_the_peer_has_left() -> None:
    patience, mailbox = Patience(60.0), Mailbox()

    async def leave() -> None:
        await trio.testing.wait_all_tasks_blocked()
        mailbox.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        with pytest.raises(Closed):
            await outlast(patience, mailbox)


def test_who_gives_back_when_the_run_is_over_waits_no_longer() -> None:
    """In a system task: those are cancelled when the main task has ended, and so is the one that sees to them."""
    patience, mailbox, took, stuck = Patience(1.0), Mailbox(), list[float](), list[Waiting]()

    async def holds() -> None:
        try:
            await trio.sleep_forever()
        finally:
            began = trio.current_time()
            with mailbox.expecting(Released) as waiting:
                stuck.append(waiting)
                await patience.outlast(waiting)
            took.append(trio.current_time() - began)

    async def frees_it() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(10.0)
            for waiting in stuck:
                waiting.give_up()

    async def main() -> None:
        trio.lowlevel.spawn_system_task(holds)
        trio.lowlevel.spawn_system_task(frees_it)
        await trio.sleep(0.1)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [round(seconds, 6) for seconds in took] == [1.0]
