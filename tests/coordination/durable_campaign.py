"""Random histories with voters that have disks: they are slow, full, wiped or damaged, and everyone crashes at once.

Voters whose disk is whole vote at once after a restart, so these histories hold many more grants close to crashes than those
without memory, in which everyone abstains first."""

from __future__ import annotations

from random import Random

from simulations.machine.disk import Disk
from tests.coordination.agreed_campaign import FAULT_KINDS, HISTORY, KEYS, Campaign, first_violation
from tests.coordination.agreed_world import MS, Changes, World

DISK_KINDS = ("slow_disk", "full_disk", "wipe", "all_at_once", "twice", "torn", "torn")
KINDS = (*FAULT_KINDS, *DISK_KINDS, *DISK_KINDS)


class DurableCampaign(Campaign):
    """As `Campaign`; every member has a disk. An operator never says `fresh` over a disk that holds a mesh."""

    durable = True

    def __init__(
        self,
        seed: int,
        faults: Changes = (),
        focus: tuple[str, ...] = (),
        duration: int = HISTORY,
        keys: tuple[tuple[str, ...], ...] = KEYS,
    ) -> None:
        super().__init__(seed, faults, focus, duration, keys)
        self.kinds = KINDS + focus * 24
        self.wiped = 0
        self.coins = Random(seed)

    def disk(self, name: str) -> Disk | None:
        return self.world.nodes[name].disk

    def reboot(self, name: str, after_ms: int = 0) -> None:
        world = self.world
        if world.nodes[name].up:
            world.crash(name)
            delay = (after_ms or self.dice.randrange(10, 4000)) * MS
            world.after(delay, lambda: None if world.nodes[name].up else world.start(name))

    def do_slow_disk(self, name: str, other: str) -> None:
        disk = self.disk(name)
        if disk is not None:
            disk.slower[0] = self.dice.choice((5, 50, 300, 2000)) * MS
            self.world.after(self.dice.randrange(100, 4000) * MS, disk.slower.clear)

    def do_full_disk(self, name: str, other: str) -> None:
        for each in (name, other) if self.dice.random() < 0.3 else (name,):
            disk = self.disk(each)
            if disk is not None:
                self.world.trouble(5000 * MS)
                disk.full += 1
                self.world.after(self.dice.randrange(50, 4000) * MS, self._freed, disk)

    @staticmethod
    def _freed(disk: Disk) -> None:
        disk.full -= 1

    def do_wipe(self, name: str, other: str) -> None:
        """Emptied or damaged: one voter at a time without memory is no majority of them."""
        world, disk = self.world, self.disk(name)
        if disk is None or self.wiped > world.now:
            return
        self.wiped = world.now + 8_000 * MS
        self.reboot(name)
        assert world.laws is not None
        world.laws.lost(name)
        if self.coins.random() < 0.5:
            disk.wipe()
        else:
            disk.damaged = True

    def do_all_at_once(self, name: str, other: str) -> None:
        for each in self.members:
            self.reboot(each, self.dice.randrange(1, 40))

    def do_twice(self, name: str, other: str) -> None:
        self.do_all_at_once(name, other)
        self.world.after(self.dice.randrange(1, 400) * MS, lambda: self.do_all_at_once(name, other))

    def do_torn(self, name: str, other: str) -> None:
        """A voter dies while its disk is slow, in the middle of a commit."""
        disk = self.disk(name)
        if disk is None:
            return
        disk.slower[1] = self.dice.randrange(5, 80) * MS

        def crash() -> None:
            disk.slower.pop(1, None)
            self.reboot(name, self.dice.randrange(1, 30))

        self.world.after(self.dice.randrange(20, 300) * MS, crash)

    def settle(self) -> None:
        for node in self.world.nodes.values():
            if node.disk is not None:
                node.disk.slower.clear()
        super().settle()


def durable_stress(
    seed: int, *, faults: Changes = (), focus: tuple[str, ...] = (), keys: tuple[tuple[str, ...], ...] = KEYS
) -> World:
    """One random history with disks. Raises Violation."""
    return DurableCampaign(seed, faults, focus, keys=keys).run()


def durable_hunt(
    seeds: range, faults: Changes = (), focus: tuple[str, ...] = (), keys: tuple[tuple[str, ...], ...] = KEYS
) -> tuple[int, str] | None:
    """The first seed with a violation, and what it was."""
    return first_violation(lambda seed: durable_stress(seed, faults=faults, focus=focus, keys=keys), seeds)
