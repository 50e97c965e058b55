"""The one pull that a replica has outstanding, and with whom.

The asker's claims (`Transfer.known`) stay what they were when it began; each cell that arrives claims its own dot at once, so
a transfer that breaks loses nothing. The same sender goes on behind the last place; another one starts anew. A chunk counts
only if it answers the last request (`after`): a duplicate, or one that was late, merges its cells and moves nothing."""

from __future__ import annotations

from crdt.dots import Summary
from crdt.transfer import FIRST, Transfer
from mesh.replication.messages import Chunk

__all__ = ["ANSWER", "REPEAT", "Pulling"]

ANSWER = 2_000_000_000
"""ns that a chunk may take; then the next reason to pull goes on with the transfer, or starts another."""

REPEAT = 400_000_000
"""ns after which an unanswered request is sent again."""
REPEATS = 3
"""So often, within `ANSWER`. (Otherwise each lost datagram of a pull costs two to three seconds.)

They are rarer where answers have taken long: the link is slow. (At 100 kB/s a part takes two thirds of a second; each was
asked for four times, most of what the link carried were repetitions, and 3 MB took four minutes.)"""
LONGEST = ANSWER
"""ns between two of them at the most. (With ten seconds, and longer after each, a link that loses a third looked slow: a mesh
was not equal 30 s after the last fault; spreading, seed 61.)"""


class Pulling:
    __slots__ = ("_asked", "_number", "_repeats", "_took", "began", "sender", "transfer")

    def __init__(self) -> None:
        self._number = 0
        self._repeats = 0
        self._asked = 0
        self._took = 0
        """ns that the slowest of the last answers took."""
        self.began = 0
        """When the present transfer was (mono ns)."""
        self.sender = b""
        """The session of the process that is asked."""
        self.transfer: Transfer | None = None

    @property
    def number(self) -> int:
        return self._number

    def begin(self, sender: bytes, claims: Summary, now: int) -> bool:
        """Whether to ask now: not while an answer of a transfer may still come."""
        if self.transfer is not None:
            if now - self._asked < ANSWER:
                return False
            self._repeats = 0
            if self.sender == sender:
                self._asked = now
                return True
        self._number += 1
        self.sender = sender
        self.transfer = Transfer(claims)
        self._asked = self.began = now
        self._repeats = 0
        return True

    @property
    def patience(self) -> int:
        """ns after which the request that is sent now is sent again, if nothing has come."""
        return min(LONGEST, max(REPEAT, 2 * self._took))

    def repeat(self) -> bool:
        """Whether the last request is to be sent again, as nothing has come since."""
        if self.transfer is None or self._repeats == REPEATS:
            return False
        self._repeats += 1
        return True

    def received(self, chunk: Chunk, sender: bytes, merged: bool, now: int) -> Transfer | None:
        """The transfer that this chunk carries on; None for a stray one, whose cells count all the same.

        `merged` is False if any of its cells was refused."""
        transfer = self.transfer
        if transfer is None or (self._number, self.sender, transfer.after) != (chunk.pull, sender, chunk.after):
            return None
        if chunk.after == FIRST:
            if chunk.snapshot is None:
                return None
            transfer.begins(chunk.snapshot)
        transfer.received(chunk.last, chunk.complete and merged)
        self._took = max(now - self._asked, self._took * 7 // 8)
        self._asked = now
        self._repeats = 0
        return transfer

    def end(self) -> None:
        self.transfer = None
