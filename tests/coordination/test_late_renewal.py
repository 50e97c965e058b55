"""A renewal that is asked for at the last moment is told of when it is known what has come of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from coordination.agreed.vocabulary.events import Ended, Ending, Renewed
from coordination.dispatch import Mailbox
from coordination.errors import LeaseLost
from coordination.locking.holding import Held
from mesh.directives import Event, Instant

REQUEST = 1


def held() -> Held:
    """Still valid, and what is commanded is done by nobody."""
    holder = SimpleNamespace(valid=lambda request, now: True, renew=lambda request, now: (), deadline=lambda request: 5)
    core: Any = SimpleNamespace(holder=holder, now=lambda: Instant(0, 0, 0), act=lambda directives, now: None)
    return Held(core, "lock/x", REQUEST, Mailbox())


async def told(lease: Held, *said: Event) -> list[str]:
    """What a renewal comes to while this is said, one after the other."""
    outcome = []

    async def renew() -> None:
        try:
            await lease.renew()
        except LeaseLost:
            outcome.append("lost")
        else:
            outcome.append("renewed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(renew)
        await trio.testing.wait_all_tasks_blocked()
        for event in said:
            lease.mailbox.put(event)
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return outcome


async def test_that_the_end_is_near_is_no_answer_to_who_can_still_be_renewed() -> None:
    assert await told(held(), Ending(REQUEST)) == []
    assert await told(held(), Ending(REQUEST), Renewed(REQUEST, 5)) == ["renewed"]
    assert await told(held(), Ending(REQUEST), Ended(REQUEST, "its time ran out")) == ["lost"]


@pytest.mark.parametrize("event", [Ending(REQUEST), Ended(REQUEST, "its time ran out")])
async def test_a_body_is_cancelled_then_and_its_renewal_is_lost(event: Event) -> None:
    lease = held()
    lease.guard(trio.CancelScope())
    assert await told(lease, event) == ["lost"]


async def test_a_body_that_begins_after_it_was_told_that_the_end_is_near_is_cancelled_at_once() -> None:
    for deadline, cancelled in ((5, True), (6, False)):
        lease, scope = held(), trio.CancelScope()
        lease.mailbox.put(Ending(REQUEST))
        lease._core.holder.deadline = lambda request, deadline=deadline: deadline  # type: ignore[method-assign, misc]
        lease.guard(scope)
        assert scope.cancel_called == cancelled, f"it was told of 5, and its deadline is {deadline}"
