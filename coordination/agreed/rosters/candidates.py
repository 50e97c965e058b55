"""Whom a node without a roster has heard of, and who of them could found with it.

They are bounded: whoever could found with this node takes the place of one that could not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from coordination.agreed.vocabulary.birth_messages import Candidate
from coordination.agreed.vocabulary.ports import Identity, View
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Boot

__all__ = ["HEARD_FOR", "Candidates"]

HEARD_FOR = 3 * NANOSECONDS
CAP = 256


class Candidates:
    """The last call of each, by name.

    Parameters
    ----------
    expect: how many are to found.
    """

    __slots__ = ("_calls", "_counts", "_expect", "_identity", "_view")

    def __init__(self, identity: Identity, view: View, expect: int, counts: Counter[str]) -> None:
        self._identity = identity
        self._view = view
        self._expect = expect
        self._counts = counts
        self._calls: dict[str, tuple[int, Candidate]] = {}
        """With when it came (monotonic ns)."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._calls)

    def take(self, call: Candidate, now: Instant) -> bool:
        """Whether there is room for it."""
        if call.name not in self._calls and len(self._calls) >= CAP:
            self._counts["candidates_full"] += 1
            spare = next((name for name, (_, other) in self._calls.items() if not self.fellow(other)), None)
            if spare is None or not self.fellow(call):
                return False
            del self._calls[spare]
        self._calls[call.name] = (now.mono, call)
        return True

    def fellow(self, call: Candidate) -> bool:
        """Whether it could found with this node."""
        return call.founder and call.expect == self._expect

    def fellows(self) -> set[str]:
        """Names that could found with this node, whenever they were heard of."""
        return {name for name, (_, call) in self._calls.items() if self.fellow(call)}

    def founders(self, now: Instant) -> list[str]:
        """Names that could found with this node, of those heard of late, this one included."""
        heard = [name for name, (at, call) in self._calls.items() if now.mono - at <= HEARD_FOR and self.fellow(call)]
        return sorted([self._identity.name, *heard])

    def replaced(self, name: str, boot: Boot) -> bool:
        """Whether a newer process of that name is known."""
        known = self._calls.get(name)
        seen = self._view.boot(name)
        return (known is not None and known[1].boot > boot) or (seen is not None and seen > boot)

    def fresh(self, name: str) -> bool:
        """Whether its operator, too, says that no lease is alive."""
        known = self._calls.get(name)
        return known is not None and known[1].fresh

    def clear(self) -> None:
        self._calls.clear()
