"""Waiting until this replica has what others had.

A sync asks one member for its summary, and two more (or all there are), after it was begun, and is fulfilled when the own
claims include every answer. The summaries stand still, so it ends under continuous writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from crdt.dots import DotSet, Summary
from mesh.replication.messages import VectorAsk

__all__ = ["SPONSORS", "Syncing"]

SPONSORS = 3


@dataclass(slots=True)
class Sync:
    asked: list[str]
    answers: dict[str, Summary] = field(default_factory=dict)


class Syncing:
    __slots__ = ("_syncs",)

    def __init__(self) -> None:
        self._syncs: dict[int, Sync] = {}

    def begin(self, query: int, names: Sequence[str], random: Random) -> list[tuple[str, VectorAsk]]:
        asked = _some(names, random)
        self._syncs[query] = Sync(asked)
        return [(name, VectorAsk(query)) for name in asked]

    def again(self, names: Sequence[str], random: Random) -> list[tuple[str, VectorAsk]]:
        """Ask once more who has not answered; another in the place of one that has gone."""
        asks = []
        for query, sync in self._syncs.items():
            gone = [name for name in sync.asked if name not in sync.answers and name not in names]
            if gone or not sync.asked:
                spare = [name for name in names if name not in sync.asked]
                kept = [name for name in sync.asked if name not in gone]
                sync.asked = kept + _some(spare, random)[: SPONSORS - len(kept)]
            asks += [(name, VectorAsk(query)) for name in sync.asked if name not in sync.answers]
        return asks

    def answered(self, query: int, name: str, summary: Summary) -> None:
        sync = self._syncs.get(query)
        if sync is not None and name in sync.asked:
            sync.answers[name] = summary

    def fulfilled(self, claimed: DotSet) -> list[int]:
        """The syncs that have ended, which are forgotten."""
        done = [query for query, sync in self._syncs.items() if self._has(sync, claimed)]
        for query in done:
            del self._syncs[query]
        return done

    def drop(self, query: int) -> None:
        self._syncs.pop(query, None)

    def __len__(self) -> int:
        return len(self._syncs)

    @staticmethod
    def _has(sync: Sync, claimed: DotSet) -> bool:
        return all(name in sync.answers and claimed.covers_all(sync.answers[name]) for name in sync.asked)


def _some(names: Sequence[str], random: Random) -> list[str]:
    return list(names) if len(names) <= SPONSORS else random.sample(list(names), SPONSORS)
