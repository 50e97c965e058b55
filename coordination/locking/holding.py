"""Holding: what is asked for, held and given back, by whatever name it goes.

The lease under a lock is kept by a majority of voters for its ttl and renewed in the background each third of it. This process
believes in it for a little less than they keep it, by its own clock, and counts from before it asked; so its belief ends
first, whatever the network does. At the deadline less a twentieth the body's cancel scope is cancelled, and `LeaseLost` is
raised. A body without checkpoints cannot be cancelled: guard what it writes with the token (see `Held.token`).

Gray and Cheriton, 1989 (leases); Burrows, 2006 (Chubby's sequencers, here the token)."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from types import TracebackType
from typing import NamedTuple

import trio

from coordination.agreed.vocabulary.events import (
    Busy,
    Ended,
    Ending,
    Granted,
    OtherLimit,
    Released,
    Renewed,
    RenewFailed,
    Unavailable,
)
from coordination.agreed.vocabulary.modes import EXCLUSIVE, Mode
from coordination.agreed.vocabulary.values import LeaseId, lease_text
from coordination.arguments.calling import way_out
from coordination.core import LeaseCore
from coordination.dispatch import Mailbox
from coordination.errors import LeaseLost, LimitDiffers, MeshError, NoQuorum
from coordination.patience import RELEASE_SECONDS
from mesh.directives import NANOSECONDS, Event, Instant

__all__ = ["Claim", "Held", "Wish", "acquire", "let_go"]

ANSWERS = (Granted, Busy, OtherLimit, Unavailable, Ended)
"""What asking for a lease may come to."""
RENEWAL = (Renewed, RenewFailed, Ended)
"""What a renewal may come to."""


class Wish(NamedTuple):
    """What is asked for, checked already."""

    key: str
    """Of the register: kind/name."""
    ttl: int
    """ns."""
    mode: Mode = EXCLUSIVE
    delay: int = 0
    """ns for which nobody else is granted it after it has run out unreleased."""
    most: float | None = None
    """Seconds for which it may be held at the most."""
    kind: str = "lock"
    """Or `lease`: it binds something from the start."""

    def __str__(self) -> str:
        return spoken(self.key)


def spoken(key: str) -> str:
    """How a register is called in sentences."""
    return repr(key.replace("/", " ", 1))


class Held:
    """A lock, lease or permit that this process holds, or held."""

    __slots__ = (
        "_core",
        "_ended",
        "_lease",
        "_most",
        "_near",
        "_released",
        "_request",
        "_scope",
        "_text",
        "_until",
        "key",
        "mailbox",
    )

    def __init__(self, core: LeaseCore, key: str, request: int, mailbox: Mailbox, most: float | None = None) -> None:
        self._core = core
        self.key = key
        self.mailbox = mailbox
        self._request = request
        self._lease: LeaseId | None = None
        self._text = ""
        self._scope: trio.CancelScope | None = None
        self._ended: str | None = None
        self._near: int | None = None
        """The deadline of which it was told that it is near, before there was a body to cancel."""
        self._released = False
        self._most = most
        self._until: int | None = None
        """Boot ns beyond which it may not be held."""
        mailbox.on_event = self._on_event

    def granted(self) -> Held:
        """Take what was granted. Raises `LeaseLost` if it is over already: this task may have had to wait for its turn."""
        self._lease = self._core.holder.lease(self._request)
        if self._lease is None:
            raise self.lost()
        if self._most is not None:
            self._until = self._core.now().boot + round(self._most * NANOSECONDS)
        return self

    def guard(self, scope: trio.CancelScope) -> None:
        """Cancel this scope when the end is near, or at once if that was told already, and it has not been renewed since. (It
        is told once: the body would go on until the deadline itself.)"""
        self._scope = scope
        self.mailbox.guarded = True
        if self._most is not None:
            scope.deadline = trio.current_time() + self._most
        if not self.valid() or (self._near is not None and self._core.holder.deadline(self._request) == self._near):
            scope.cancel()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Ended):
            self._ended = event.reason
        if isinstance(event, (Ended, Ending)):
            if self._scope is not None:
                self._scope.cancel()
            else:
                self._near = self._core.holder.deadline(self._request)

    # --- reading -----------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        token = "no token yet" if self._lease is None else f"token {self._lease.token}"
        return f"<Held {self.key!r}: {token}, {self.remaining():.1f} s left>"

    @property
    def token(self) -> int:
        """The fencing token: strictly above that of every earlier grant of this lock. Hand it to whatever you write to, and
        have that refuse lower ones."""
        return self._granted_lease().token

    @property
    def id(self) -> str:
        """The identity of this very grant, for ever: no other one has it, whatever the token."""
        if not self._text:
            self._text = lease_text(self.key, self._granted_lease())
        return self._text

    def _granted_lease(self) -> LeaseId:
        assert self._lease is not None, "nobody is given it before it is granted"
        return self._lease

    def remaining(self) -> float:
        """Seconds for which this process may still act as the holder, by its own clock; 0.0 after the end. Local."""
        deadline = self._core.holder.deadline(self._request)
        if deadline is None or self._released:
            return 0.0
        if self._until is not None:
            deadline = min(deadline, self._until)
        return max(0.0, (deadline - self._core.now().boot) / NANOSECONDS)

    def valid(self) -> bool:
        """Whether this process may act as the holder at this moment, by its own clock. Local, no network."""
        return self.covers(self._core.now())

    def belongs(self, user: object) -> bool:
        """Whether it is held by this very peer or thin client: whose clock is meant."""
        return user is self._core

    def covers(self, now: Instant) -> bool:
        """Whether it holds at the very moment at which something is written under it."""
        if self._released or self._too_long(now):
            return False
        return self._core.holder.valid(self._request, now)

    def _too_long(self, now: Instant) -> bool:
        return self._until is not None and now.boot >= self._until

    # --- acting ------------------------------------------------------------------------------------------------------

    async def renew(self) -> None:
        """Extend to a full ttl from now. A checkpoint.

        Raises
        ------
        LeaseLost: it has ended, or no majority confirmed before its end.
        """
        if not self.valid():
            await trio.lowlevel.checkpoint()
            raise self.lost()
        with self.mailbox.expecting(*self._renewal()) as waiting:
            now = self._core.now()
            self._core.act(self._core.holder.renew(self._request, now), now)
            if not isinstance(await waiting.outcome(), Renewed):
                raise self.lost()

    def _renewal(self) -> tuple[type[Event], ...]:
        """A body is cancelled when the end is near; without one there is time until the end. (Who renewed at the last moment
        was told that it is lost, and it was renewed a moment later: nobody gave it back.)"""
        return RENEWAL if self._scope is None else (*RENEWAL, Ending)

    async def release(self) -> None:
        """Give it back; it counts as ended here at once. A checkpoint, also when it has ended already: then nothing happens.

        Waits up to a second for a majority to confirm, shielded from cancellation; beyond that the release goes on in the
        background. Never raises for a lease that has ended."""
        if self._released:
            await trio.lowlevel.checkpoint()
            return
        self._released = True
        core = self._core
        try:
            with self.mailbox.expecting(Released) as waiting:
                try:
                    now = core.now()
                    core.act(core.holder.release(self._request, now), now)
                except MeshError:  # the peer has ended, and its leases with it
                    await trio.lowlevel.checkpoint()
                    return
                await core.patience.outlast(waiting)
        finally:
            core.dispatch.done(self._request)

    async def bind(self) -> str:
        """The id of this lease for what ends with it, once the voters know that something does. A checkpoint.

        Raises
        ------
        LeaseLost: it has ended.
        """
        if not self.valid():
            await trio.lowlevel.checkpoint()
            raise self.lost()
        now = self._core.now()
        directives = self._core.holder.bind(self._request, now)
        if directives:
            with self.mailbox.expecting(*self._renewal()) as waiting:
                self._core.act(directives, now)
                if not isinstance(await waiting.outcome(), Renewed):
                    raise self.lost()
        return self.id

    def lost(self) -> LeaseLost:
        """What is raised where it is used after its end: it says why that came."""
        if self._released:
            why = "it was released"
        elif self._ended is None and self._too_long(self._core.now()):
            why = f"it may be held for {self._most:g} s at the most (max_hold), and is given back"
        else:
            why = self._ended or "it could not be renewed in time"
        return LeaseLost(f"{spoken(self.key)} is not held any more: {why}")


async def acquire(core: LeaseCore, wish: Wish, *, wait: bool, renew: bool) -> Held | None:
    """Ask for the lease of a register until it is granted; None if it is not to wait and would have to.

    Cancelled at any moment it leaves nothing held and nobody in the queue."""
    holder, dispatch = core.holder, core.dispatch
    await trio.lowlevel.checkpoint_if_cancelled()
    request = holder.next_request()
    mailbox = Mailbox()
    held = Held(core, wish.key, request, mailbox, wish.most)
    dispatch.request(request, mailbox)
    try:
        with mailbox.expecting(*ANSWERS) as waiting:
            now = core.now()
            asked = holder.acquire(
                request,
                wish.key,
                kind=wish.kind,
                ttl=wish.ttl,
                wait=wait,
                renew=renew,
                now=now,
                mode=wish.mode,
                delay=wish.delay,
            )
            core.act(asked, now)
            outcome = await waiting.outcome()
        match outcome:
            case Granted():
                return held.granted()
            case OtherLimit(_, limit):
                rest = f"let it rest for two max_ttl ({2 * core.longest_ttl() / NANOSECONDS:g} s)"
                raise LimitDiffers(str(wish), wish.mode.limit, limit, f"name the same one everywhere, or {rest}")
            case Unavailable(_, missing, reason):
                if forgot := await core.forgotten():
                    raise NoQuorum(f"{wish} could not be acquired", (), *way_out(forgot))
                raise NoQuorum(f"{wish} could not be acquired", missing, reason)
            case Ended(_, reason):
                raise LeaseLost(f"{wish} was lost before it could be used: {reason}")
            case _:
                dispatch.done(request)
                return None
    except BaseException:
        dispatch.done(request)
        with suppress(MeshError):  # a peer that has ended holds nothing
            now = core.now()
            core.act(holder.cancel(request, now), now)
        raise


async def let_go(core: LeaseCore) -> None:
    """Give back everything that is held or asked for, because the peer stops. Waits `RELEASE_SECONDS` at the most, shielded;
    for rights of budgets as long before."""
    for farewell in core.farewells:
        await farewell()
    requests = core.dispatch.requests()
    with suppress(MeshError), trio.move_on_after(RELEASE_SECONDS, shield=True), ExitStack() as stack:
        # (A peer that was halted says nothing more.)
        waiting = [stack.enter_context(mailbox.expecting(Released)) for _, mailbox in requests]
        for number, _ in requests:
            now = core.now()
            core.act(core.holder.release(number, now), now)
        for (number, _), released in zip(requests, waiting, strict=True):
            await released.outcome()
            core.dispatch.done(number)


class Claim:
    """One entry of an `async with`: acquired, guarded, given back."""

    __slots__ = ("_held", "_scope", "key", "permits")

    def __init__(self, held: Held, mode: Mode = EXCLUSIVE) -> None:
        self._held = held
        self.key = held.key
        self.permits = mode.permits
        self._scope = trio.CancelScope()

    def enter(self) -> Held:
        self._scope.__enter__()
        self._held.guard(self._scope)
        return self._held

    async def exit(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        """Give it back; raises `LeaseLost` if the body was cancelled for its loss, or ended after it in peace. An error of its
        own goes first, with a note that says so."""
        lost: LeaseLost | None = None
        swallowed = False
        try:
            try:
                swallowed = bool(self._scope.__exit__(kind, error, tb))
            finally:
                if self._scope.cancelled_caught or not self._held.valid():
                    lost = self._held.lost()
        except Exception as rest:  # of a group: what was not cancelled here
            note(rest, lost)
            raise
        finally:
            await self._held.release()
        if lost is not None and (error is None or swallowed):
            raise lost
        note(error, lost)
        return swallowed


def note(error: BaseException | None, lost: LeaseLost | None) -> None:
    """What the body raises goes first; that it lost the lock is told all the same."""
    if lost is not None and isinstance(error, Exception):
        error.add_note(str(lost))
