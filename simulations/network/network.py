"""The simulated network: links between addresses, and the rules that are in force on them.

A link is one direction between two machines. What it does to its n-th datagram depends on (seed, link, n) and the rules of the
moment. A rule covers some links, and has an effect on them: it cuts them, gives them other `Conditions`, a `Limit`, or `Noise`.
Of each sort of effect the latest rule that covers a link counts, and any one that cuts it cuts it. Rules come and go in any
order: faults overlap freely.

Nothing is cut, lost, limited or changed between a machine and itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulations.dice import GOLDEN, MASK, mix, seed_of
from simulations.network.latency import Latency

__all__ = ["Conditions", "Effect", "Limit", "Link", "Network", "Noise", "Pairs", "Rule"]

US = 1_000
MS = 1_000 * US
SECOND = 1_000 * MS
CHANCES = 1 << 16
RARE = 1 << 32
"""Of these many is a chance of corruption counted: it may be one in a million."""
LOCAL_LATENCY = 20 * US
NOISE = 0x3C6EF372FE94F82B
"""So that what is corrupted is not what is duplicated."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a link does. Probabilities are per datagram; times are ns."""

    latency: Latency = (200 * US, 1 * MS)
    """Lowest and highest, even between them; or another shape (`simulations.network.latency`)."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """Of being held back by up to `held`, so that later ones overtake it."""
    held: int = 50 * MS


@dataclass(frozen=True, slots=True)
class Limit:
    """How much passes: bytes take their time to leave, one after another, and wait in a queue before. A datagram that
    does not fit into the queue is dropped; streams fill half of it, and wait at their sender for more."""

    bytes_per_s: int
    queue_bytes: int


@dataclass(frozen=True, slots=True)
class Noise:
    """How often bytes are changed: the share of datagrams, and of what is written to streams."""

    datagrams: float
    streams: float


Effect = Conditions | Limit | Noise | None
"""None: the links are cut."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Covers the links from any of `sources` to any of `targets` (machines by name; None: all)."""

    sources: frozenset[str] | None = None
    targets: frozenset[str] | None = None
    effect: Effect = None

    def covers(self, source: str, target: str) -> bool:
        return (self.sources is None or source in self.sources) and (self.targets is None or target in self.targets)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Covers these links (source, target), one by one."""

    links: frozenset[tuple[str, str]]
    effect: Effect = None

    def covers(self, source: str, target: str) -> bool:
        return (source, target) in self.links


class Link:
    """One direction between two machines."""

    __slots__ = (
        "_conditions", "_key", "cut", "duplicate", "free_at", "hampered", "held", "limit", "loss", "low", "n", "noise",
        "reorder", "shape", "source", "spread", "target", "version",
    )  # fmt: skip

    def __init__(self, seed: int, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.n = 0
        self.version = -1
        self.cut = False
        self._key = seed_of(seed, "link", source, target)
        self._conditions: Conditions | None = None
        self.low = self.spread = self.loss = self.duplicate = self.reorder = self.held = 0
        self.shape: Callable[[int], int] | None = None
        """Of latency, if it is not even between two bounds."""
        self.hampered = False
        """It is limited, or noisy."""
        self.limit: Limit | None = None
        self.noise: Noise | None = None
        self.free_at = 0
        """When everything has left that waits in its queue."""

    def obey(self, conditions: Conditions, cut: bool, version: int) -> None:
        self.version, self.cut = version, cut
        if conditions is self._conditions:
            return
        self._conditions = conditions
        if isinstance(conditions.latency, tuple):
            low, high = conditions.latency
            self.low, self.spread, self.shape = low, high - low + 1, None
        else:
            self.shape = conditions.latency.at
        self.loss = round(conditions.loss * CHANCES)
        self.duplicate = round(conditions.duplicate * CHANCES)
        self.reorder = round(conditions.reorder * CHANCES)
        self.held = conditions.held

    def draw(self) -> int:
        """64 bits for the next thing that passes here."""
        self.n = n = self.n + 1
        number = (self._key + n * GOLDEN) & MASK  # `mix`, without the call: nothing is drawn so often
        number = ((number ^ number >> 30) * 0xBF58476D1CE4E5B9) & MASK
        number = ((number ^ number >> 27) * 0x94D049BB133111EB) & MASK
        return number ^ number >> 31

    def latency(self, draw: int) -> int:
        """One way, of what comes in order; takes the upper bits of a draw."""
        if self.shape is not None:
            return self.shape(draw)
        return self.low + ((draw >> 32) * self.spread >> 32)

    def delay(self, draw: int) -> int:
        """Of a datagram; takes the upper bits of a draw."""
        delay = self.low + ((draw >> 32) * self.spread >> 32) if self.shape is None else self.shape(draw)
        if self.reorder:
            again = ((draw ^ draw >> 30) * 0xBF58476D1CE4E5B9) & MASK  # `mix`, as above
            again = ((again ^ again >> 27) * 0x94D049BB133111EB) & MASK
            again ^= again >> 31
            if again & 0xFFFF < self.reorder:
                delay += (again >> 32) * self.held >> 32
        return delay

    # --- if it is hampered -----------------------------------------------------------------------------------------------

    def enter(self, size: int, now: int) -> int | None:
        """ns until the last of so many bytes has left; None if they do not fit into the queue."""
        limit = self.limit
        if limit is None:
            return 0
        if self.free_at > now and (self.free_at - now) * limit.bytes_per_s // SECOND + size > limit.queue_bytes:
            return None
        return self.append(size, now)

    def append(self, size: int, now: int) -> int:
        """As `enter`, of what waited until there was room."""
        limit = self.limit
        if limit is None:
            return 0
        self.free_at = max(self.free_at, now) + size * SECOND // limit.bytes_per_s
        return self.free_at - now

    def room_at(self, now: int) -> int:
        """When the queue is half empty."""
        limit = self.limit
        return now if limit is None else max(now, self.free_at - limit.queue_bytes * SECOND // (2 * limit.bytes_per_s))

    def corrupts(self, draw: int, *, stream: bool = False) -> int:
        """Bits of chance if what has this draw is changed, else 0."""
        noise = self.noise
        if noise is None:
            return 0
        again = mix(draw ^ NOISE)
        chance = noise.streams if stream else noise.datagrams
        return mix(again) or 1 if again >> 32 < round(chance * RARE) else 0


class Network:
    """Links by (source, target), and the rules in force.

    Parameters
    ----------
    changed: called after the rules have changed."""

    def __init__(self, seed: int, conditions: Conditions, changed: Callable[[], None]) -> None:
        self.seed = seed
        self.conditions = conditions
        self.version = 0
        """Rises with each change of rules; a link that is older looks again."""
        self._changed = changed
        self._rules: list[Rule | Pairs] = []
        self._links: dict[tuple[str, str], Link] = {}

    def link(self, source: str, target: str) -> Link:
        """The link, obeying the rules of the moment."""
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = Link(self.seed, source, target)
        if link.version != self.version:
            self.refresh(link)
        return link

    def refresh(self, link: Link) -> None:
        if link.source == link.target:
            link.obey(Conditions((LOCAL_LATENCY, LOCAL_LATENCY)), False, self.version)
            return
        conditions, cut = self.conditions, False
        link.limit = link.noise = None
        for rule in self._rules:
            if rule.covers(link.source, link.target):
                effect = rule.effect
                if effect is None:
                    cut = True
                elif isinstance(effect, Conditions):
                    conditions = effect
                elif isinstance(effect, Limit):
                    link.limit = effect
                else:
                    link.noise = effect
        link.hampered = link.limit is not None or link.noise is not None
        link.obey(conditions, cut, self.version)

    def add(self, *rules: Rule | Pairs) -> None:
        self._rules += rules
        self._change()

    def remove(self, *rules: Rule | Pairs) -> None:
        """Each rule once, by identity: another fault may have an equal one in force."""
        for rule in rules:
            index = next(i for i, known in enumerate(self._rules) if known is rule)
            del self._rules[index]
        self._change()

    def set_conditions(self, conditions: Conditions) -> None:
        """Where no rule says otherwise."""
        self.conditions = conditions
        self._change()

    def clear(self) -> None:
        """No rule any more."""
        self._rules.clear()
        self._change()

    def _change(self) -> None:
        self.version += 1
        self._changed()
