"""What the objects of one thin client share: its line, its driver, and who waits for what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import cbor2
import trio

from coordination.agreed.holding.holder import Holder
from coordination.agreed.vocabulary.events import Explanation, Listed, Unavailable
from coordination.agreed.vocabulary.ports import Identity
from coordination.claims import Claims
from coordination.dispatch import Dispatch
from coordination.errors import Disconnected, MeshError, OutcomeUnknown, Unreachable
from coordination.patience import Patience
from coordination.sponsor.failures import revived
from coordination.sponsor.messages import ASK_BYTES, OUTSTANDING, WRITES, Answer, Ask, Happened, Happening, Unasked
from coordination.thin.line import Heard, Line, Parted, Welcomed
from crdt.clock import Instant
from mesh.directives import Directives, Message
from mesh.driver import Driver
from mesh.node import Node
from mesh.wire import MAX_FRAME_BYTES, load

__all__ = ["ATTEMPT_SECONDS", "Follower", "ThinAssembly", "ThinCore"]

ATTEMPT_SECONDS = 3.0
"""For one address: to be reached, to prove the secret, and to welcome the client."""

LONGEST_TTL = 3600 * 1_000_000_000
"""ns, of any mesh: what a ttl may be while the roster is not known yet."""

RESULT_DEPTH = 6


@dataclass(frozen=True, slots=True)
class ThinAssembly:
    """What the driver drives."""

    node: Node
    line: Line


class Follower(Protocol):
    """A watch, on the client's side."""

    def happened(self, events: Sequence[Happening]) -> None: ...
    def wake(self) -> None:
        """Look again: the stream may have ended."""


@dataclass(slots=True, eq=False)
class Reply:
    """The place for one answer."""

    arrived: trio.Event = field(default_factory=trio.Event)
    answer: Answer | None = None


class ThinCore:
    """Implements `coordination.core.LeaseCore`."""

    def __init__(self, assembly: ThinAssembly, driver: Driver[Any]) -> None:
        self.line = assembly.line
        self.driver = driver
        self.dispatch = Dispatch()
        self.claims = Claims()
        self.patience = Patience()
        self.farewells: tuple[Callable[[], Awaitable[None]], ...] = ()
        self.sponsor = ""
        self.address = ""
        self.watches: dict[int, Follower] = {}
        self._attempt = 0
        self._ended: str | None = None
        """Why the stream of the present attempt has ended."""
        self._settled = trio.Event()
        """The present attempt was welcomed, or has ended."""
        self._parted = trio.Event()
        """The stream of the sponsor has ended."""
        self._last_watch = 0
        self._sequence = 0
        self._replies: dict[int, Reply] = {}
        self._room = trio.Semaphore(OUTSTANDING)
        self.dispatch.handle(Welcomed, self._on_welcomed)
        self.dispatch.handle(Parted, self._on_parted)
        self.dispatch.handle(Heard, self._on_heard)
        driver.subscribe(self.dispatch)

    # --- for locks and leases ----------------------------------------------------------------------------------------

    @property
    def holder(self) -> Holder:
        return self.line.holder

    @property
    def identity(self) -> Identity:
        return self.line.identity

    def now(self) -> Instant:
        return self.driver.instant()

    def act(self, directives: Directives, now: Instant) -> None:
        self.driver.command(self.line, self.line.outward(directives), now)
        self.check()

    def longest_ttl(self) -> int:
        roster = self.line.mesh.roster
        return roster.max_ttl if roster is not None else LONGEST_TTL

    async def inspect(self, register: str, *, early: bool) -> Explanation:
        return Explanation(*await self.ask("standing" if early else "explain", register))

    async def forgotten(self) -> tuple[str, ...]:
        roster = self.line.mesh.roster
        if roster is None or not roster.elastic or not self.line.up:
            return ()
        return tuple(await self.ask("forgotten"))

    async def list_locks(self, prefix: str) -> Listed:
        return Listed(0, *await self.ask("locks", prefix))

    # --- the stream --------------------------------------------------------------------------------------------------

    async def reach(self, addresses: Sequence[str]) -> None:
        """Be welcomed by the first of these that will. Raises `Unreachable` with one reason for each."""
        reasons = []
        for address in addresses:
            reason = await self._try(address)
            if reason is None:
                self.address = address
                return
            reasons.append((address, reason))
        raise Unreachable.of(tuple(reasons))

    async def _try(self, address: str) -> str | None:
        self._settled = trio.Event()
        self._ended = None
        self._attempt, directives = self.line.dial(address)
        self.driver.command(self.line, directives)
        with trio.move_on_after(ATTEMPT_SECONDS):
            await self._settled.wait()
        if self.sponsor:
            return None
        return self._ended or ("unwelcomed" if self.line.up else "silent")

    async def parted(self) -> None:
        """Wait until the stream has ended. A checkpoint."""
        await self._parted.wait()

    def check(self) -> None:
        """Raise `Disconnected` once the stream has ended."""
        if self._ended is not None:
            raise Disconnected(self.sponsor, self.address, self._ended)

    def say(self, message: Message) -> None:
        self.driver.command(self.line, self.line.say(message))

    def _on_welcomed(self, event: Welcomed) -> None:
        if event.attempt == self._attempt:
            self.sponsor = event.sponsor
            self._settled.set()

    def _on_parted(self, event: Parted) -> None:
        if event.attempt != self._attempt:
            return
        self._ended = event.reason
        self._settled.set()
        if self.sponsor:
            self._parted.set()
            for reply in self._replies.values():
                reply.arrived.set()
            for watch in self.watches.values():
                watch.wake()
            # Whoever waits for a grant is told. What is held runs on, by its own clock.
            reason = f"the stream to {self.sponsor} has ended ({event.reason})"
            for number, mailbox in self.dispatch.requests():
                mailbox.put(Unavailable(number, (self.sponsor,), reason))

    def _on_heard(self, event: Heard) -> None:
        match event.message:
            case Answer(sequence):
                reply = self._replies.get(sequence)
                if reply is not None:
                    reply.answer = event.message
                    reply.arrived.set()
            case Happened(number, events):
                watch = self.watches.get(number)
                if watch is not None:
                    watch.happened(events)

    # --- operations --------------------------------------------------------------------------------------------------

    async def ask(self, operation: str, *arguments: Any) -> Any:
        """The result of one operation of the sponsor. A checkpoint; if it is cancelled while it waits, a write may or may
        not have happened.

        Raises
        ------
        MeshError: as the sponsor says. Disconnected: the stream had ended before. OutcomeUnknown, Unreachable: it ended
        before the answer to a write, to a read.
        """
        encoded = cbor2.dumps(arguments)
        assert len(encoded) <= ASK_BYTES, "whoever asks for much asks in parts"
        self.check()
        async with self._room:
            self.check()
            self._sequence += 1
            sequence = self._sequence
            reply = self._replies[sequence] = Reply()
            try:
                self.say(Ask(sequence, operation, encoded))
                await reply.arrived.wait()
            except trio.Cancelled:
                with suppress(MeshError):  # the client may have been closed meanwhile
                    self.say(Unasked(sequence))
                raise
            finally:
                del self._replies[sequence]
        answer = reply.answer
        if answer is None:
            problem = OutcomeUnknown if operation in WRITES else Unreachable
            raise problem(f"the stream to {self.sponsor} at {self.address} broke before the answer ({self._ended})")
        if answer.error:
            raise revived(answer.error, answer.result)
        return load(answer.result, MAX_FRAME_BYTES, RESULT_DEPTH)

    def new_watch(self, watch: Follower) -> int:
        """A number for it, under which events reach it."""
        self._last_watch += 1
        self.watches[self._last_watch] = watch
        return self._last_watch
