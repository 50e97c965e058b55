"""One transfer: everything that a replica lacks, from one sender, in key order, in chunks.

The vector rises to the sender's summary only after the last chunk, and to the summary of the *first* chunk: what the sender
merged meanwhile lies behind keys that may have been passed. Each cell that arrives claims its own dot at once, so a transfer
that breaks loses nothing, and goes on behind the last key that came. A transfer in which a cell was masked raises nothing."""

from __future__ import annotations

from dataclasses import dataclass

from crdt.dots import Summary

__all__ = ["ANSWER", "Pulling", "Transfer"]

ANSWER = 2_000_000_000
"""ns that a chunk may take before the transfer is given up; the next digest begins another."""


@dataclass(slots=True)
class Transfer:
    """The one pull that this replica has outstanding."""

    pull: int
    sender: str
    asked: int
    snapshot: Summary | None = None
    masked: bool = False


class Pulling:
    """The asker's side."""

    __slots__ = ("_last", "transfer")

    def __init__(self) -> None:
        self._last = 0
        self.transfer: Transfer | None = None

    def begin(self, sender: str, now: int) -> Transfer | None:
        """A new transfer, or None while another is under way."""
        if self.transfer is not None and now - self.transfer.asked < ANSWER:
            return None
        self._last += 1
        self.transfer = Transfer(self._last, sender, now)
        return self.transfer

    def received(self, pull: int, sender: str | None, snapshot: Summary, now: int) -> Transfer | None:
        """The transfer that a chunk belongs to; None for a stray one, whose cells count all the same."""
        transfer = self.transfer
        if transfer is None or transfer.pull != pull or transfer.sender != sender:
            return None
        if transfer.snapshot is None:
            transfer.snapshot = snapshot
        transfer.asked = now
        return transfer

    def end(self) -> None:
        self.transfer = None
