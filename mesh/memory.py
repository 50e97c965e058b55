"""What a node remembers over its restarts: tables of keys and values, written in batches, and what waits for them.

A part answers `Persist(records)`, and whatever it answers behind that is performed once those records are durable. The node
hands its driver one batch at a time (`Commit`); what arises meanwhile is the next one, so that the longer a disk takes, the
more it is given at once (group commit). A batch is durable whole or not at all, and batches in their order:

    Persist a, Send 1       -> Commit(1: a)         Send 1 waits for 1
    Persist b, Send 2                               waits for 2, beside c
    Persist c, Send 3                               waits for 2
    Send 4                  -> Send 4               rests on nothing: at once
    Persist (), Send 5                              rests on what was recorded, so waits for 2
    Persist d, Act(Persist e, Send 6)               Send 6 waits for d and e; both are recorded now
    on_committed(1)         -> Send 1, Commit(2: b, c)

What fails is tried again, at growing intervals, with what has arisen since. Nothing that waits is given up, for it may be
answered late but not untold; so parts that would add to it ask `ready` first, and answer nothing while the disk fails or
stands still.

Tables, one a kind of thing, belong to the part that writes them. `tables` holds what the store had at the start of the
process; nothing is read from it later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence

from mesh.directives import NANOSECONDS, Act, Arm, Directive, Disarm, Part, Persist, Record
from mesh.outputs import Commit

__all__ = ["HELD_CAP", "STALLED", "Memory", "Tables"]

Tables = Mapping[str, Mapping[bytes, bytes]]

STALLED = NANOSECONDS
"""A batch under way for longer than this: the disk stands still, and nothing more is promised meanwhile."""

HELD_CAP = 16_384
"""Lists of directives that wait for the disk. Above it nothing more is promised."""

RETRY_FIRST = NANOSECONDS // 10
RETRY_LONGEST = NANOSECONDS
"""Between two attempts at a batch that failed: doubled from the first to the longest."""


class Memory:
    """The records of one node that are not durable yet, in order, and the directives that wait for them.

    Parameters
    ----------
    tables: what the store held when the process started."""

    __slots__ = ("_failures", "_held", "_next", "_number", "_retry_at", "_sent", "_sent_at", "commits", "error", "tables")

    def __init__(self, tables: Tables | None = None) -> None:
        self.tables: Tables = {} if tables is None else tables
        self.error = ""
        """Why the last attempt failed, or nothing if it did not."""
        self.commits = 0
        """Batches that have become durable."""
        self._failures = 0
        self._retry_at = 0
        self._number = 0
        self._next: dict[tuple[str, bytes], bytes | None] = {}
        self._sent: dict[tuple[str, bytes], bytes | None] = {}
        self._sent_at = 0
        self._held: deque[tuple[int, int, Sequence[Directive]]] = deque()

    def table(self, name: str) -> Mapping[bytes, bytes]:
        """What a table held at the start."""
        return self.tables.get(name, {})

    def take(self, name: str) -> list[bytes]:
        """The values of a table at the start, which need not be kept in memory any longer."""
        rows = self.table(name)
        values = list(rows.values())
        if isinstance(rows, MutableMapping):
            rows.clear()
        return values

    def ready(self, mono: int) -> bool:
        """Whether what is recorded now will be durable soon, as far as is known."""
        if self.error or len(self._held) >= HELD_CAP:
            return False
        return not self._sent or mono - self._sent_at < STALLED

    # --- for the node ------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether anything recorded is not durable yet."""
        return bool(self._next or self._sent)

    def record(self, records: Sequence[Record]) -> None:
        """Add to the next batch; of two values of one key in it the later counts."""
        for table, key, value in records:
            self._next[table, key] = value

    def waiting(
        self, part: Part, following: Iterable[Directive], timed: Callable[[Part, Arm | Disarm], None]
    ) -> list[Directive]:
        """What of this has to wait: all but records, which are added to the next batch, and timers, which `timed` sets. Held,
        an older one would come after a newer one and take its place, also one in an act of another part: the disk would keep
        an older promise than the one that was told."""
        held: list[Directive] = []
        for directive in following:
            if isinstance(directive, Persist):
                self.record(directive.records)
            elif isinstance(directive, Arm | Disarm):
                timed(part, directive)
            elif isinstance(directive, Act):
                if rest := self.waiting(directive.part, directive.directives, timed):
                    held.append(Act(directive.part, rest))
            else:
                held.append(directive)
        return held

    def hold(self, owner: int, directives: Sequence[Directive]) -> None:
        """Keep directives of a part until all that has been recorded is durable."""
        self._held.append((self._number + 1 if self._next else self._number, owner, directives))

    def begin(self, mono: int) -> Commit | None:
        """The next batch, if there is one and none is under way."""
        if self._sent or not self._next or mono < self._retry_at:
            return None
        self._sent, self._next = self._next, {}
        self._sent_at = mono
        self._number += 1
        return Commit(self._number, tuple([(table, key, value) for (table, key), value in self._sent.items()]))

    def committed(self, number: int) -> list[tuple[int, Sequence[Directive]]]:
        """A batch is durable: what waited for it, in order, as (owner, directives)."""
        assert self._sent and number == self._number, f"batch {number} is not under way"
        self._sent = {}
        self.error, self._failures, self._retry_at = "", 0, 0
        self.commits += 1
        held, freed = self._held, []
        while held and held[0][0] <= number:
            freed.append(held.popleft()[1:])
        return freed

    def failed(self, number: int, error: str, mono: int) -> int:
        """A batch is not durable, nor any part of it: it joins the next one, whose values are newer. When to try again."""
        assert self._sent and number == self._number, f"batch {number} is not under way"
        self._next = {**self._sent, **self._next}
        self._sent = {}
        self.error = error or "unknown"
        self._retry_at = mono + min(RETRY_FIRST << min(self._failures, 8), RETRY_LONGEST)
        self._failures += 1
        return self._retry_at

    def stats(self) -> dict[str, int]:
        return {"commits": self.commits, "held": len(self._held), "unwritten": len(self._next) + len(self._sent)}
