"""What the public objects of one peer share: its assembly, its driver, its dispatcher."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import trio

from coordination.agreed.holding.holder import Holder
from coordination.agreed.rosters.reset import lost
from coordination.agreed.vocabulary.events import Explained, Explanation, Listed, ResetOver, Surveyed
from coordination.agreed.vocabulary.ports import Identity
from coordination.arguments.calling import new_voters
from coordination.claims import Claims
from coordination.dispatch import Dispatch
from coordination.errors import ClockDrift, DiskFailed, StoreFull
from coordination.patience import Patience
from crdt.clock import Instant
from mesh.directives import Directives
from mesh.driver import Driver
from mesh.replication import StoreFullError

if TYPE_CHECKING:  # a thin client has no use for all the parts of a node
    from coordination.assembly import Assembly

__all__ = ["CALLS_PER_TURN", "Core", "LeaseCore"]

CALLS_PER_TURN = 32
"""Local writes after which one lets other tasks run: a full checkpoint costs as much as two writes."""


class LeaseCore(Protocol):
    """What locks and leases need: of a peer, or of a thin client, which runs the holder's core itself."""

    @property
    def holder(self) -> Holder: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def dispatch(self) -> Dispatch: ...
    def now(self) -> Instant: ...
    def act(self, directives: Directives, now: Instant) -> None:
        """Perform what a command of the holder answered at `now`. Not a checkpoint."""

    @property
    def claims(self) -> Claims: ...
    @property
    def patience(self) -> Patience: ...
    @property
    def farewells(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What is given back beside leases, when it stops. Shielded, bounded in time, raising nothing."""

    def longest_ttl(self) -> int:
        """The max_ttl of the mesh, ns, as far as it is known."""

    async def inspect(self, register: str, *, early: bool) -> Explanation:
        """Ask the voters of a register what they keep; `early`: until a majority agrees. A checkpoint."""

    async def forgotten(self) -> tuple[str, ...]:
        """The voters that have forgotten what they promised, if so many have that nobody can go on. A checkpoint, or none."""

    async def list_locks(self, prefix: str) -> Listed:
        """Ask all voters which locks are held. A checkpoint."""


@dataclass(slots=True)
class Core:
    """A peer's."""

    assembly: Assembly
    driver: Driver[Any]
    dispatch: Dispatch = field(default_factory=Dispatch)
    joined: trio.Event = field(default_factory=trio.Event)
    """Set once this node has been admitted, or founds."""
    claims: Claims = field(default_factory=Claims)
    patience: Patience = field(default_factory=Patience)
    farewells: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    endings: list[Callable[[], None]] = field(default_factory=list)
    """What is to be done once the peer has ended: whoever still waits for news of it is told that there is none."""
    _calls: int = 0

    @property
    def holder(self) -> Holder:
        return self.assembly.agreed.holder

    @property
    def identity(self) -> Identity:
        return self.assembly.identity

    def now(self) -> Instant:
        return self.driver.instant()

    def act(self, directives: Directives, now: Instant) -> None:
        self.driver.command(self.assembly.agreed.holder, directives, now)

    def longest_ttl(self) -> int:
        roster = self.assembly.agreed.birth.roster
        return roster.max_ttl if roster is not None else self.assembly.settings.parameters.max_ttl

    async def inspect(self, register: str, *, early: bool) -> Explanation:
        inspector = self.assembly.agreed.inspector
        query, mailbox = self.dispatch.explain()
        try:
            with mailbox.expecting(Explained) as waiting:
                self.driver.command(inspector, inspector.explain(query, register, self.now(), early=early))
                event = await waiting.outcome()
        finally:
            self.dispatch.asked(query)
        assert isinstance(event, Explained)
        return event.explanation.beside(self.assembly.forgets(self.now()))

    async def list_locks(self, prefix: str) -> Listed:
        census = self.assembly.agreed.census
        query, mailbox = self.dispatch.count()
        try:
            with mailbox.expecting(Listed) as waiting:
                self.driver.command(census, census.count(query, prefix, self.now()))
                event = await waiting.outcome()
        finally:
            self.dispatch.asked(query)
        assert isinstance(event, Listed)
        return event

    async def forgotten(self) -> tuple[str, ...]:
        roster = self.assembly.agreed.birth.roster
        if roster is None or not roster.elastic:
            return ()
        reset = self.assembly.agreed.reset
        query, mailbox = self.dispatch.survey()
        try:
            with mailbox.expecting(Surveyed) as waiting:
                self.driver.command(reset, reset.survey(query, self.now()))
                event = await waiting.outcome()
        finally:
            self.dispatch.asked(query)
        assert isinstance(event, Surveyed)
        return lost(event)

    async def reset_roster(self, without: tuple[str, ...]) -> tuple[str, ...]:
        """By an operator's word: the new voters. A checkpoint. Raises `ResetRefused`."""
        reset = self.assembly.agreed.reset
        query, mailbox = self.dispatch.survey()
        try:
            with mailbox.expecting(ResetOver) as waiting:
                self.driver.command(reset, reset.reset(query, without, self.now()))
                event = await waiting.outcome()
        finally:
            self.dispatch.asked(query)
        assert isinstance(event, ResetOver)
        return new_voters(event)

    def end_member(self, name: str) -> None:
        """Raises `BadConfig`."""
        rounds = self.assembly.rounds
        self.driver.command(rounds, rounds.give_up(name, self.now()))

    def check_writable(self) -> None:
        """Refuse writes once the node has ended, and while its clock is off or its disk fails."""
        self.driver.check()
        trouble = self.assembly.replication.trouble
        if trouble:
            raise DiskFailed(trouble)
        offset = self.assembly.clock.check()
        if offset is not None:
            raise ClockDrift(offset)

    def full(self, problem: StoreFullError) -> StoreFull:
        return StoreFull(problem.keys, problem.limit, problem.seconds, *self.assembly.rounds.stillness())

    async def turn(self) -> None:
        """The checkpoint of a local write: always a point of cancellation, and every 32nd time one of scheduling."""
        self._calls += 1
        if self._calls % CALLS_PER_TURN:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
