"""What befalls links."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from simulations.network import Conditions, Rule

__all__ = ["Cut", "Isolate", "LinkFault", "OneWay", "Partition", "Weather"]


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
class Weather:
    """The links from `sources` to `targets` (None: all) have other conditions."""

    at: int
    lasts: int
    conditions: Conditions
    sources: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None

    def rules(self, names: Collection[str]) -> tuple[Rule, ...]:
        sources = None if self.sources is None else frozenset(self.sources)
        targets = None if self.targets is None else frozenset(self.targets)
        return (Rule(sources, targets, self.conditions),)


LinkFault = Partition | Isolate | OneWay | Cut | Weather
