"""Leaving for good: what is held is given back, the roster goes on without this peer, and everyone is told that it has left.

In this order. (Who left first would be asked for votes that it does not give; who gave back last would keep its locks closed
until they run out.) A peer that only stops stays on the roster, and is expected back."""

from __future__ import annotations

import logging

import trio

from coordination.agreed.vocabulary.events import Ended, RosterDecided
from coordination.core import Core
from coordination.locking.holding import let_go
from coordination.patience import RELEASE_SECONDS

__all__ = ["REMOVAL_SECONDS", "leave"]

REMOVAL_SECONDS = 5.0
"""How long it waits for a roster without this peer."""

logger = logging.getLogger("mesh")


async def leave(core: Core) -> bool:
    """See `Peer.leave`."""
    core.driver.check()
    core.dispatch.shut()
    await end_bodies(core)
    await let_go(core)
    gone = await removed(core)
    await core.driver.stop()
    core.dispatch.close()
    core.joined.set()  # whoever waited for it finds that the peer is closed
    return gone


async def end_bodies(core: Core) -> None:
    """Cancel what runs under a lock or lease, and let it end: only then may others be granted it."""
    for number, mailbox in core.dispatch.requests():
        mailbox.put(Ended(number, "this peer leaves the mesh"))
    with trio.move_on_after(RELEASE_SECONDS):
        await core.dispatch.unguarded()


class News:
    """Of a roster."""

    __slots__ = ("_arrived",)

    def __init__(self) -> None:
        self._arrived = trio.Event()

    def on_event(self, event: RosterDecided) -> None:
        self._arrived.set()

    async def wait(self) -> None:
        self._arrived = trio.Event()
        await self._arrived.wait()


async def removed(core: Core) -> bool:
    """Have the roster do without this peer; whether it does."""
    agreed, name = core.assembly.agreed, core.assembly.identity.name

    def named() -> bool:
        roster = agreed.birth.roster
        return roster is not None and name in roster.voters

    roster = agreed.birth.roster
    if roster is not None and roster.elastic:
        electorate = agreed.electorate
        news = News()
        core.dispatch.handle(RosterDecided, news.on_event)
        core.driver.command(electorate, electorate.leave(core.now()))
        with trio.move_on_after(REMOVAL_SECONDS):
            while not electorate.gone:
                await news.wait()
    if not named():
        return True
    assert roster is not None
    others = len(roster.voters) - 1
    why = "it is the last voter" if not others else "no majority let it go in time" if roster.elastic else "the roster is fixed"
    text = "%s leaves, and stays on the roster of voters: %s. Of the other %d, %d are needed for every lock"
    logger.warning(text, name, why, others, roster.majority)
    return False
