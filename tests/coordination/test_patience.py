"""Waits for the confirmation of a release: shielded, and bounded by one task for all of them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from coordination.agreed.events import Released
from coordination.dispatch import Mailbox
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
