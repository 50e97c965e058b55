"""Whether a lease that binds something is over is answered from what was true after the question (C19)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from coordination.agreed.vocabulary.messages import Accept, Accepted, Mend, Prepare, Promise
from mesh.directives import Message, Source
from tests.coordination.agreed_world import MS, S, Worker, World
from tests.coordination.one_lock import KEY, group, held, ready


class Late:
    """Those messages that one node ought to get, but has not yet."""

    def __init__(self, world: World, to: str, which: Callable[[str, str, Message], bool]) -> None:
        self.world, self.to, self.which = world, to, which
        self.kept: list[tuple[str, Any]] = []
        world.lose = self

    def __call__(self, at: int, a: str, b: str, message: Message) -> bool:
        if b == self.to and isinstance(message, Promise | Accepted) and message.ballot.name == b:
            self.kept.append((a, message))
            return True
        return self.which(a, b, message)

    def come(self) -> None:
        """All of them, now."""
        world, node = self.world, self.world.nodes[self.to]
        assert node.parts is not None
        world.lose = None
        owner = node.parts.owner
        for name, message in self.kept:
            boot = world.nodes[name].boot
            world.perform(
                node, owner, owner.on_message(message, Source(boot.session, "", name, boot, None), world.instant(node))
            )


def granted_behind_its_back(world: World, first: str, second: str) -> Worker:
    """By the second-ranked, to one that takes the first-ranked for dead."""
    world.lies.update({"n4": {first}, second: {first}})
    worker = held(world, "n4", kind="lease")
    world.lies.clear()
    return worker


@pytest.mark.parametrize("kind", [Prepare, Accept])
def test_a_round_that_began_before_a_lease_was_granted_does_not_tell_that_it_is_over(kind: type[Message]) -> None:
    """Everyone has answered it, but late; the one that waits for the answers is asked about the lease meanwhile. (Every replica
    dropped what was bound to it, and its holder went on.)"""
    world = ready(clients=2)
    first, second, _ = group(world)
    old = held(world, "n3")
    world.run(S)  # older than an eighth of its ttl: its end is a round
    node = world.nodes[first]
    assert node.parts is not None
    owner = node.parts.owner
    if kind is Prepare:
        world.command(old, "release")
        world.run(S)
    late = Late(world, first, lambda a, b, message: isinstance(message, Accept) and (a, b) == (second, first))
    if kind is Accept:
        world.command(old, "release")
    else:
        source = Source(b"", "", None, None, None)
        world.perform(node, owner, owner.on_message(Mend(KEY), source, world.instant(node)))
    world.run(3 * MS)
    new = granted_behind_its_back(world, first, second)
    desk = owner.desk(KEY)
    assert desk is not None and desk.round is not None and type(desk.round.message) is kind
    assert new.lease in world.visible
    world.perform(node, owner, owner.recheck(list(world.visible), world.instant(node)))
    late.come()
    world.run(S)
    assert world.valid(new) and new.lease in world.visible
    assert not desk.checks, "it was answered: the lease is alive"
    world.command(new, "release")
    assert world.run_until(lambda: new.lease not in world.visible, S)
