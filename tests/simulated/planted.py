"""Nodes in which one rule is broken. Each must be caught by a checker, or the checker shows nothing."""

from __future__ import annotations

from typing import Any

from coordination.agreed.holding.holder import Holder
from coordination.agreed.vocabulary.events import Ended, Ending
from coordination.agreed.voting.acceptor import Acceptor
from coordination.assembly import Assembly, Settings, build
from crdt.clock import Instant
from crdt.store import Store
from mesh.directives import Directive, Directives, Emit
from mesh.replication import Replication
from mesh.replication.messages import Chunk
from simulations.cluster import Build
from tests.coordination.agreed_world import Changes, plant

__all__ = [
    "ForgetsPromises",
    "ForwardsAnothersDot",
    "NeverCompares",
    "NeverWarns",
    "RaisesEarly",
    "same_actor",
    "with_parts",
    "with_planted",
    "with_store",
    "zero_salts",
]


def with_parts(*changes: type) -> Build:
    """A builder whose parts are of these subclasses of theirs: the fault, beside untouched nodes in the same run."""

    def make(settings: Settings, **sources: Any) -> Assembly:
        assembly = build(settings, **sources)
        for part in assembly.node.parts:
            for change in changes:
                if type(part) is change.__mro__[1]:
                    part.__class__ = change
        return assembly

    return make


def with_planted(changes: Changes) -> Build:
    """A builder with one of the faults of the agreed state's own tests."""

    def make(settings: Settings, **sources: Any) -> Assembly:
        assembly = build(settings, **sources)
        plant(assembly.agreed, changes)
        return assembly

    return make


class ForgetsPromises(Acceptor):
    """Votes at once after a restart, though it has forgotten what it promised."""

    def abstaining(self, key: str, now: Instant) -> int:
        return 0


class NeverWarns(Holder):
    """Does not tell the body that its lease ends."""

    def on_timer(self, timer: Any, now: Instant) -> Directives:
        return self._silent(super().on_timer(timer, now))

    def on_message(self, message: Any, source: Any, now: Instant) -> Directives:
        return self._silent(super().on_message(message, source, now))

    @staticmethod
    def _silent(directives: Directives) -> Directives:
        return [each for each in directives if not (isinstance(each, Emit) and isinstance(each.event, Ending | Ended))]


class RaisesEarly(Replication):
    """The vector rises with the first chunk of a transfer, not after the last."""

    def _chunk(self, chunk: Chunk, source: Any, now: Instant, out: list[Directive]) -> None:
        super()._chunk(chunk, source, now, out)
        if chunk.snapshot is not None:
            self.store.raise_to(chunk.snapshot)


class NeverCompares(Replication):
    """Sends no digests: what a push lost stays lost."""

    def _digest(self, now: Instant, out: list[Directive]) -> None:
        return


def same_actor(settings: Settings, **sources: Any) -> Assembly:
    """A restart goes on under the session, and so the actor, of the process before it."""
    return build(settings, **{**sources, "session": settings.name.encode().ljust(16)})


def zero_salts(settings: Settings, **sources: Any) -> Assembly:
    """The operating system's entropy has failed."""
    return build(settings, **{**sources, "entropy": bytes})


class ForwardsAnothersDot(Replication):
    """A cell that replaced one which was to be passed on goes out with the previous dot of that one's writer: the bug that
    `run_spreading` found with seed 188, planted back."""

    def _flush(self, now: Instant, out: list[Directive]) -> None:
        for place, (origin, _, previous) in self._forward.items():
            cell = self.store.cell(*place)
            if cell is not None:
                self._forward[place] = origin, (cell.actor, cell.n), previous
        super()._flush(now, out)


def with_store(change: type[Store]) -> Build:
    """A builder whose stores are of this subclass."""

    def make(settings: Settings, **sources: Any) -> Assembly:
        assembly = build(settings, **sources)
        assembly.store.__class__ = change
        return assembly

    return make
