"""The simulated network: links between addresses, and the rules that are in force on them.

A link is one direction between two machines. What it does to its n-th datagram depends on (seed, link, n) and the rules of the
moment. A `Rule` cuts links, or gives them other `Conditions`; the latest rule that covers a link decides its conditions, and
any one that cuts it cuts it. Rules come and go in any order: faults overlap freely.

Nothing is cut or lost between a machine and itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulations.dice import GOLDEN, mix, seed_of

__all__ = ["Conditions", "Link", "Network", "Rule"]

MS = 1_000_000
US = 1_000
CHANCES = 1 << 16
LOCAL_LATENCY = 20 * US


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a link does. Probabilities are per datagram; times are ns."""

    latency: tuple[int, int] = (200 * US, 1 * MS)
    """Lowest and highest; even between them."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """Of being held back by up to `held`, so that later ones overtake it."""
    held: int = 50 * MS


@dataclass(frozen=True, slots=True)
class Rule:
    """Covers the links from any of `sources` to any of `targets` (machines by name; None: all)."""

    sources: frozenset[str] | None = None
    targets: frozenset[str] | None = None
    conditions: Conditions | None = None
    """None: the links are cut."""

    def covers(self, source: str, target: str) -> bool:
        return (self.sources is None or source in self.sources) and (self.targets is None or target in self.targets)


class Link:
    """One direction between two machines."""

    __slots__ = ("_key", "cut", "duplicate", "held", "loss", "low", "n", "reorder", "source", "spread", "target", "version")

    def __init__(self, seed: int, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.n = 0
        self.version = -1
        self.cut = False
        self._key = seed_of(seed, "link", source, target)
        self.low = self.spread = self.loss = self.duplicate = self.reorder = self.held = 0

    def obey(self, conditions: Conditions, cut: bool, version: int) -> None:
        self.version, self.cut = version, cut
        low, high = conditions.latency
        self.low, self.spread = low, high - low + 1
        self.loss = round(conditions.loss * CHANCES)
        self.duplicate = round(conditions.duplicate * CHANCES)
        self.reorder = round(conditions.reorder * CHANCES)
        self.held = conditions.held

    def draw(self) -> int:
        """64 bits for the next thing that passes here."""
        self.n = n = self.n + 1
        return mix(self._key + n * GOLDEN)

    def delay(self, draw: int) -> int:
        """Of a datagram; takes the upper bits of a draw."""
        delay = self.low + ((draw >> 32) * self.spread >> 32)
        if self.reorder:
            again = mix(draw)
            if again & 0xFFFF < self.reorder:
                delay += (again >> 32) * self.held >> 32
        return delay


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
        self._rules: list[Rule] = []
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
        for rule in self._rules:
            if rule.covers(link.source, link.target):
                if rule.conditions is None:
                    cut = True
                else:
                    conditions = rule.conditions
        link.obey(conditions, cut, self.version)

    def add(self, *rules: Rule) -> None:
        self._rules += rules
        self._change()

    def remove(self, *rules: Rule) -> None:
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
