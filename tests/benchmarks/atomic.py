"""Messages of atomic registers, counted where nothing else is sent: in the world of the agreed state."""

from __future__ import annotations

from collections.abc import Sequence

from coordination.agreed.vocabulary.placement import Placement
from tests.coordination.agreed_world import S
from tests.coordination.atomic_campaign import AtomicWorld

__all__ = ["messages_per_add"]

KEY = "atomic/bench"
SECONDS = 5


def messages_per_add(clients: Sequence[int]) -> tuple[float, int]:
    """Messages for each add, from so many tasks on each of three voters, best ranked first; and how many one add takes at the
    least, if its caller is the owner: one to each acceptor that is needed, and its answer."""
    world = AtomicWorld(7, voters=3)
    assert world.run_until(world.founded, 60 * S)
    parts = world.nodes["n0"].parts
    assert parts is not None and parts.birth.roster is not None
    group = Placement(parts.birth.roster).group(KEY)
    end = world.now + SECONDS * S
    done = 0

    def add(name: str, task: int) -> None:
        nonlocal done
        if world.now >= end:
            return
        asked = world.call(name, f"{name}.{task}", KEY, "add", 1)

        def wait() -> None:
            nonlocal done
            if asked.over:
                done += 1
                add(name, task)
            else:
                world.after(S // 10_000, wait)

        wait()

    sent = world.sent
    for name, count in zip(group, clients, strict=True):
        for task in range(count):
            add(name, task)
    world.run(SECONDS * S + S)
    assert world.outcomes["add"] == done > SECONDS * 10 * sum(clients), world.outcomes
    return (world.sent - sent) / done, 2 * (group.quorum - 1)
