"""What befalls links."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from simulations.dice import seed_of
from simulations.network.network import Conditions, Effect, Limit, Noise, Pairs, Rule

__all__ = ["Corruption", "Cut", "Isolate", "LinkFault", "OneWay", "Partition", "RandomCuts", "Ring", "Throttle", "Weather"]

CHANCES = 1 << 32


@dataclass(frozen=True, slots=True)
class Partition:
    """`side` and the rest do not hear each other."""

    at: int
    lasts: int
    side: tuple[str, ...]

    def rules(self, names: Collection[str]) -> tuple[Rule, ...]:
        side = frozenset(self.side)
        rest = frozenset(names) - side
        return Rule(side, rest), Rule(rest, side)


@dataclass(frozen=True, slots=True)
class Isolate:
    """One machine hears nobody, and nobody hears it."""

    at: int
    lasts: int
    whom: str

    def rules(self, names: Collection[str]) -> tuple[Rule, ...]:
        return Rule(frozenset((self.whom,)), None), Rule(None, frozenset((self.whom,)))


@dataclass(frozen=True, slots=True)
class OneWay:
    """Nothing from any of `sources` reaches any of `targets`; the other direction is as before."""

    at: int
    lasts: int
    sources: tuple[str, ...]
    targets: tuple[str, ...]

    def rules(self, names: Collection[str]) -> tuple[Rule, ...]:
        return (Rule(frozenset(self.sources), frozenset(self.targets)),)


@dataclass(frozen=True, slots=True)
class Cut:
    """Two machines do not hear each other; everyone else hears both."""

    at: int
    lasts: int
    one: str
    other: str

    def rules(self, names: Collection[str]) -> tuple[Rule, ...]:
        one, other = frozenset((self.one,)), frozenset((self.other,))
        return Rule(one, other), Rule(other, one)


@dataclass(frozen=True, slots=True)
class Ring:
    """Of these, each hears only the one before it and the one behind it; the first and the last are neighbours. Others hear
    everyone, and are heard. It takes four to cut anything."""

    at: int
    lasts: int
    order: tuple[str, ...]

    def rules(self, names: Collection[str]) -> tuple[Pairs, ...]:
        order = self.order
        near = {(one, other) for one, other in zip(order, (*order[1:], *order[:1]), strict=True)}
        far = {(one, other) for one in order for other in order if one != other}
        return (Pairs(frozenset(far - near - {(other, one) for one, other in near})),)


@dataclass(frozen=True, slots=True)
class RandomCuts:
    """Each link, in each direction for itself, is cut with this chance. Which are depends on `draw` and the two names alone."""

    at: int
    lasts: int
    chance: float
    draw: int

    def rules(self, names: Collection[str]) -> tuple[Pairs, ...]:
        below = round(self.chance * CHANCES)
        pairs = [(one, other) for one in names for other in names if one != other]
        return (Pairs(frozenset([pair for pair in pairs if seed_of(self.draw, "cut", *pair) >> 32 < below])),)


@dataclass(frozen=True, slots=True)
class Weather:
    """The links from `sources` to `targets` (None: all) have other conditions."""

    at: int
    lasts: int
    conditions: Conditions
    sources: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None

    def rules(self, names: Collection[str]) -> tuple[Rule, ...]:
        return _between(self.sources, self.targets, self.conditions)


@dataclass(frozen=True, slots=True)
class Throttle:
    """The links from `sources` to `targets` (None: all) carry so much and no more. What does not leave at once waits in a queue
    of so many bytes; datagrams that do not fit are dropped, streams wait."""

    at: int
    lasts: int
    bytes_per_s: int
    queue_bytes: int = 64 << 10
    sources: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None

    def rules(self, names: Collection[str]) -> tuple[Rule, ...]:
        return _between(self.sources, self.targets, Limit(self.bytes_per_s, self.queue_bytes))


@dataclass(frozen=True, slots=True)
class Corruption:
    """On the links from `sources` to `targets` (None: all) bytes change: of this share of the datagrams, as if there were no
    checksum, and of this share of what is written to streams, as TCP's checksum lets some pass."""

    at: int
    lasts: int
    datagrams: float
    streams: float = 0.0
    sources: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None

    def rules(self, names: Collection[str]) -> tuple[Rule, ...]:
        return _between(self.sources, self.targets, Noise(self.datagrams, self.streams))


def _between(sources: tuple[str, ...] | None, targets: tuple[str, ...] | None, effect: Effect) -> tuple[Rule, ...]:
    some = None if sources is None else frozenset(sources)
    others = None if targets is None else frozenset(targets)
    return (Rule(some, others, effect),)


LinkFault = Partition | Isolate | OneWay | Cut | Ring | RandomCuts | Weather | Throttle | Corruption
