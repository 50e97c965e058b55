"""Fencing tokens, seen by one who sees everything.

L2  the tokens of one lock rise with every grant;
L5  a resource with a fence takes no write under a lower token than it took before, nor under an equal one of another holder."""

from __future__ import annotations

from collections.abc import Hashable

from coordination.agreed.vocabulary.events import Granted
from mesh.directives import Event
from simulations.checkers.base import Checker
from simulations.locking import Claim, Locks
from simulations.world import World

__all__ = ["Tokens"]


class Tokens(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._granted: dict[str, int] = {}
        self._written: dict[str, tuple[int, Hashable]] = {}

    @classmethod
    def of(cls, locks: Locks) -> Tokens:
        """Every grant of these locks is looked at."""
        tokens = cls(locks.cluster.world)

        def on_event(claim: Claim, event: Event) -> None:
            if isinstance(event, Granted):
                tokens.granted(claim.key, event.token, claim)

        locks.listen(on_event)
        return tokens

    def granted(self, key: str, token: int, holder: Hashable) -> None:
        """L2: a lock was granted."""
        highest = self._granted.get(key, 0)
        if token <= highest:
            self.fail("L2", f"{holder} has token {token}, after {highest}")
        self._granted[key] = token

    def written(self, resource: str, token: int, holder: Hashable) -> None:
        """L5: a resource took a write."""
        highest, writer = self._written.get(resource, (0, holder))
        if token < highest or (token == highest and holder != writer):
            self.fail("L5", f"{resource} took a write of {holder} under token {token}, after one of {writer} under {highest}")
        self._written[resource] = token, holder
