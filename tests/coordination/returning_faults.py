"""Planted faults of the reading back of leases, shown by the story `relayed` or by hand (`test_reader`, and `_pages`)."""

from __future__ import annotations

from dataclasses import replace

from coordination.agreed.recalling.reader import Reader
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.vocabulary.reader_messages import TableAsk, TableIs, TableRow
from coordination.agreed.vocabulary.values import FREE
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.lease_memory import LeaseMemory
from crdt.clock import Instant
from mesh.directives import Directive, Directives
from tests.coordination.agreed_world import Changes

__all__ = ["RETURN_FAULTS", "CountsTheReplaced", "TakesNoBoots", "TakesNoTokens", "TeachesNothing"]


class FewTell(LeaseMemory):
    """One fewer than share one with every quorum."""

    __slots__ = ()

    def covers(self, group: Group) -> bool:
        return sum(1 for name in group if self._counts(name)) >= max(1, group.witnesses - 1)


class AlwaysFirm(LeaseMemory):
    """Who has forgotten is believed, too."""

    __slots__ = ()

    def firm(self, now: Instant) -> bool:
        return True


class CountsTheReplaced(LeaseMemory):
    """Whoever has told once counts, though its process is known to have been replaced."""

    __slots__ = ()

    def _counts(self, name: str) -> bool:
        return name in self._told


class TeachesNothing(Reader):
    """Nobody who is asked takes note of the restart."""

    def _tell(self, ask: TableAsk, now: Instant, out: list[Directive]) -> None:
        known = dict(self._known.record._known)
        super()._tell(ask, now, out)
        self._known.record._known = known


class TakesNoBoots(Reader):
    """The record that comes with an answer is not looked at."""

    def _take(self, answer: TableIs, now: Instant, out: list[Directive]) -> None:
        known = dict(self._known.record._known)
        super()._take(answer, now, out)
        self._known.record._known = known


class TakesNoLeases(Acceptor):
    def read_back(self, row: TableRow, now: Instant) -> Directives:
        return super().read_back(row._replace(value=FREE, leases=()), now)


class TakesNoTokens(Acceptor):
    def read_back(self, row: TableRow, now: Instant) -> Directives:
        return super().read_back(row._replace(highest=0), now)


class FirstPageOnly(Reader):
    """Takes the first page for the whole table."""

    def _take(self, answer: TableIs, now: Instant, out: list[Directive]) -> None:
        super()._take(replace(answer, following=""), now, out)


RETURN_FAULTS: dict[str, tuple[Changes, int]] = {
    "one too few have told": (((LeaseMemory, FewTell),), 40),
    "one that has forgotten is believed": (((LeaseMemory, AlwaysFirm),), 40),
    "takes over no leases": (((Acceptor, TakesNoLeases),), 40),
}
"""Each with the seeds within which the story `relayed` shows it."""
