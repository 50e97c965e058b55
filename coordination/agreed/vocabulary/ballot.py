"""Ballots: the order in which proposals for one register count.

A ballot is `(epoch, counter, (name, boot))`. The proposer's name and boot are part of it, so two processes never
share one, and a process never uses one for two values: after an accept it goes on with the next counter, after any
refusal with a higher one. (One ballot with two values: two acceptors report different values as "the highest", and a
decided one is lost.)"""

from __future__ import annotations

from typing import NamedTuple

from mesh.directives import Boot

__all__ = ["ZERO", "Ballot"]

_new = tuple.__new__


class Ballot(NamedTuple):
    epoch: int
    counter: int
    name: str
    boot: Boot

    def next(self) -> Ballot:
        """The same proposer's next ballot: the only one that it may use without a prepare, after q acks of this one."""
        return _new(Ballot, (self.epoch, self.counter + 1, self.name, self.boot))  # three times a lock: half the time


ZERO = Ballot(0, 0, "", Boot(0, b""))
"""Below every real ballot: nothing promised, nothing accepted."""
