"""Who is in the world of the agreed state: nodes with their clocks and parts, what gossip tells them, and users of locks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coordination.agreed.agreed import Agreed
from coordination.agreed.holding.holder import Holder
from coordination.agreed.vocabulary.boots import NO_BOOT
from coordination.agreed.vocabulary.modes import EXCLUSIVE, Mode
from coordination.agreed.vocabulary.roster import Parameters, RosterValue
from crdt.clock import HybridClock, Instant
from mesh.directives import Boot, Message
from mesh.memory import Memory
from simulations.machine.disk import Disk

if TYPE_CHECKING:
    from tests.coordination.agreed_ground import Ground

S = 1_000_000_000
MS = 1_000_000
PARAMETERS = Parameters(R=5, max_ttl=3 * S, rho=10, max_drift=S // 2)
EPOCH_MS = 1_700_000_000_000
DAY_MS = 86_400_000
Changes = tuple[tuple[type, type], ...]
"""Planted faults: (class, the class that takes its place)."""


class Violation(AssertionError):
    pass


@dataclass
class Self_:
    name: str
    boot: Boot


class WorldView:
    """What gossip tells one node: right after a delay, of a death after `deaths_seen_after`."""

    def __init__(self, world: Ground, name: str) -> None:
        self.world, self.name = world, name

    def is_alive(self, name: str) -> bool:
        if name == self.name:
            return True
        if name in self.world.lies.get(self.name, ()):
            return False
        node = self.world.nodes.get(name)
        if node is None or (not node.up and self.world.now - node.down_at > self.world.deaths_seen_after):
            return False
        if not node.up:
            self.world.deaths_unseen += 1
        cut = self.world.cuts.get((self.name, name), self.world.cuts.get((name, self.name)))
        return cut is None or self.world.now - cut < 3 * S // 2

    def boot(self, name: str) -> Boot | None:
        node = self.world.nodes.get(name)
        return node.boot if node is not None and node.booted and not self.world.blind else None

    def names_alive(self) -> list[str]:
        return [name for name in sorted(self.world.nodes) if "@" not in name and self.is_alive(name)]


class ThinView:
    """A thin client knows of nobody's life and of no boots."""

    def is_alive(self, name: str) -> bool:
        return True

    def boot(self, name: str) -> Boot | None:
        return None

    def names_alive(self) -> list[str]:
        return []


class Told:
    """The roster as the sponsor told it."""

    def __init__(self, sponsor: Node) -> None:
        self.sponsor = sponsor
        self.told: RosterValue | None = None

    @property
    def roster(self) -> RosterValue | None:
        if self.told is None and self.sponsor.parts is not None:
            self.told = self.sponsor.parts.birth.roster
        return self.told

    def abstaining_until(self, now: Instant) -> int | None:
        return None


@dataclass
class Node:
    name: str
    rate: float
    offset: int
    wall: int
    sponsor: str = ""
    """Of a thin client; else empty."""
    leap: int = 0
    lag: int = 0
    """By how much the monotonic clock stood still."""
    boot: Boot = NO_BOOT
    booted: bool = False
    up: bool = False
    down_at: int = 0
    up_at: int = 0
    paused: int = 0
    suspended: int = 0
    """Until when the monotonic clock stands still, or stood."""
    clock: HybridClock = field(default_factory=HybridClock)
    parts: Agreed | None = None
    holder: Holder | None = None
    disk: Disk | None = None
    memory: Memory | None = None
    routes: dict[type[Message], Any] = field(default_factory=dict)
    timers: dict[tuple[str, Hashable], int] = field(default_factory=dict)
    backlog: list[Callable[[], None]] = field(default_factory=list)
    workers: dict[int, Worker] = field(default_factory=dict)


@dataclass
class Worker:
    """One user of locks: acquires, works, releases; or gives up, or forgets to release."""

    node: str
    request: int = 0
    key: str = ""
    state: str = "idle"
    wait: bool = True
    body: bool = False
    since: int = 0
    token: int = 0
    lease: str = ""
    binds: bool = False
    mode: Mode = EXCLUSIVE
    delay: int = 0
    deadline: int = 0
    """The last that was seen, if it has a delay; boot ns of its node."""
    limit_told: int = 0
    uninformed: int = 0
    """When it was last seen to have no roster, or old news of an abstention."""


def plant(parts: Iterable[Any], changes: Changes) -> None:
    """Let parts, and what they are made of, have another class: the fault, beside untouched ones in the same run."""
    for part in parts:
        for thing in (part, *vars(part).values()):
            for old, new in changes:
                if type(thing) is old:
                    thing.__class__ = new
