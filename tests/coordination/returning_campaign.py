"""Random histories in which voters forget one after the other, and come back early by what the others tell them (`reader`).

As `Campaign`, and in half of them gossip tells of no restart: what must not be counted has to be known from messages. A
holder is cut off with its lock while those that know of it restart in turn, each a moment after the last, so that what is
known of the lock hangs on what was read back."""

from __future__ import annotations

from collections import Counter
from random import Random

from coordination.agreed.vocabulary.messages import Accept
from tests.coordination.agreed_campaign import FAULT_KINDS, HISTORY, PLAIN, Campaign, first_violation
from tests.coordination.agreed_world import MS, Changes, S, World

__all__ = ["ReturningCampaign", "relayed", "returned", "returning_hunt", "returning_stress"]

KEY = "lock/a"
RETURN_KINDS = ("relay", "relay", "pair", "pair", "in_turn")


class ReturningCampaign(Campaign):
    all_kinds = (*FAULT_KINDS, *RETURN_KINDS * 6)

    def make(self, faults: Changes) -> World:
        dice = self.dice
        world = World(
            self.seed,
            voters=dice.choice([2, 3, 3, 5, 5, 7]),
            loss=dice.choice([0, 0, 0.02, 0.15]),
            latency=dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS), (MS // 5, 60 * MS)]),
            clients=dice.choice([1, 2]),
            thin=dice.choice([0, 1]),
            durable=self.durable,
            faults=faults,
        )
        world.blind = self.seed % 2 == 1
        return world

    def others(self, name: str) -> list[str]:
        """Voters, without one node, in any order."""
        node = self.world.nodes[name]
        voters = [each for each in self.members[: self.world.voters] if each not in (node.name, node.sponsor)]
        self.dice.shuffle(voters)
        return voters

    def do_relay(self, name: str, other: str) -> None:
        """While someone holds a lock, perhaps cut off, those that know of it restart one after the other."""
        world, dice = self.world, self.dice
        held = [worker for worker in world.all_workers() if worker.state == "held" and world.valid(worker)]
        if not held:
            return
        holder = dice.choice(held).node
        if dice.random() < 0.5:
            world.isolate(holder)
        gap = dice.choice((5, 20, 60, 200))
        at = 1
        for each in self.others(holder)[: world.voters // 2 + dice.choice((0, 1))]:
            self.reboot_at(each, at)
            at += dice.randrange(1, gap + 1)

    def do_pair(self, name: str, other: str) -> None:
        """Two, in the same moment or while the first one reads."""
        first, *rest = self.others(name)
        self.reboot_at(first, 1)
        for each in rest[:1]:
            self.reboot_at(each, self.dice.randrange(1, 80))

    def do_in_turn(self, name: str, other: str) -> None:
        """All of them, each when the last one has most likely returned."""
        for turn, each in enumerate(self.others(name)):
            self.reboot_at(each, 1 + turn * 400)

    def reboot_at(self, name: str, after: int) -> None:
        """It is down for a moment only. The first process of the mesh stays, as long as it is the last that has the roster."""
        world = self.world

        def restart() -> None:
            known = sum(1 for each in world.nodes.values() if each.parts is not None and each.parts.birth.roster is not None)
            if world.now < self.stop and world.nodes[name].up and known > 1:
                self.reboot(name, self.dice.randrange(1, 20))

        world.after(after * MS, restart)


class DurableReturning(ReturningCampaign):
    """With disks, which are wiped."""

    durable = True

    def reboot(self, name: str, after_ms: int = 0) -> None:
        world, node = self.world, self.world.nodes[name]
        if node.disk is not None and node.up and self.dice.random() < 0.6:
            assert world.laws is not None
            world.laws.lost(name)
            super().reboot(name, after_ms)
            node.disk.wipe()
        else:
            super().reboot(name, after_ms)


def returned(world: World) -> Counter[str]:
    """What the voters that are up at the end have read back, and told."""
    sums: Counter[str] = Counter()
    for node in world.nodes.values():
        if node.parts is not None:
            sums.update(node.parts.reader.stats())
    return sums


def returning_stress(
    seed: int,
    *,
    faults: Changes = (),
    focus: tuple[str, ...] = (),
    keys: tuple[tuple[str, ...], ...] = PLAIN,
    durable: bool = False,
) -> World:
    """One random history. Raises Violation."""
    return (DurableReturning if durable else ReturningCampaign)(seed, faults, focus, HISTORY, keys).run()


def relayed(seed: int, faults: Changes = ()) -> World:
    """A voter holds a lock and is cut off; those that know of it beside restart in turn, or at once, and a client asks."""
    dice = Random(seed)
    voters = dice.choice([3, 5, 5])
    world = World(seed, voters=voters, clients=1, latency=dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS)]), faults=faults)
    world.blind = seed % 2 == 1
    world.run_until(world.founded, 10 * S)
    names = [f"n{number}" for number in range(1, voters)]
    dice.shuffle(names)
    knowing, unknowing = names[: voters // 2], names[voters // 2 :]
    world.lose = lambda at, a, b, message: b in unknowing and isinstance(message, Accept)
    holder = world.acquire("n0", KEY, ttl=3 * S, renew=False)
    world.run_until(lambda: holder.state == "held", 2 * S)
    world.isolate("n0")
    world.lose = None
    gone = names if dice.random() < 0.3 else knowing
    gap = dice.choice([0, 50, 300, 600])
    for turn, name in enumerate(gone):
        world.after((1 + turn * gap) * MS, world.crash, name)
        world.after((3 + turn * gap) * MS, world.start, name)
    world.run(dice.randrange(0, 400) * MS)
    world.acquire(f"n{voters}", KEY, ttl=S)
    world.run(6 * S)
    return world


def returning_hunt(seeds: range, faults: Changes = ()) -> tuple[int, str] | None:
    """The first seed of that story with a violation, and what it was."""
    return first_violation(lambda seed: relayed(seed, faults), seeds)
