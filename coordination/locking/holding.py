"""Holding: what is asked for, held and given back, by whatever name it goes.

The lease under a lock is kept by a majority of voters for its ttl and renewed in the background each third of it. This process
believes in it for a little less than they keep it, by its own clock, and counts from before it asked; so its belief ends
first, whatever the network does. At the deadline less a twentieth the body's cancel scope is cancelled, and `LeaseLost` is
raised. A body without checkpoints cannot be cancelled: guard what it writes with the token (see `Held.token`).

Gray and Cheriton, 1989 (leases); Burrows, 2006 (Chubby's sequencers, here the token)."""

from __future__ import annotations

from contextlib import ExitStack, suppress
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

__all__ = ["Held", "Wish", "acquire", "let_go"]

ANSWERS = (Granted, Busy, OtherLimit, Unavailable, Ended)
"""What asking for a lease may come to."""
ORPHANED = "the lease that it is attached to has ended"
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
        "_attached",
        "_core",
        "_ended",
        "_lease",
        "_most",
        "_near",
        "_orphaned",
        "_released",
        "_request",
        "_scope",
        "_text",
        "_under",
        "_until",
        "key",
        "mailbox",
    )

    def __init__(
        self, core: LeaseCore, key: str, request: int, mailbox: Mailbox, most: float | None = None, under: Held | None = None
    ) -> None:
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
        self._orphaned = False
        """It is given back because that one has ended, and nobody waits for it."""
        self._under = under
        """The lease that this one is attached to, and ends with."""
        self._attached: dict[Held, None] | None = None
        """What is attached to this one, asked for or held."""
        mailbox.on_event = self._on_event
        if under is not None:
            under._attach(self)

    def granted(self) -> Held:
        """Take what was granted. Raises `LeaseLost` if it is over already: this task may have had to wait for its turn."""
        self._lease = self._core.holder.lease(self._request)
        if self._lease is None or self._ended is not None:
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
        if isinstance(event, Released) and self._orphaned:
            self._core.dispatch.done(self._request)
        if isinstance(event, Ended):
            self._ended = event.reason
            self._detach()
            for held in self._part():
                held._give_back_later()
        if isinstance(event, (Ended, Ending)):
            if self._scope is not None:
                self._scope.cancel()
            else:
                self._near = self._core.holder.deadline(self._request)
            for held in self._attached or ():
                held._cancel_body()

    # --- what is attached --------------------------------------------------------------------------------------------

    def _attach(self, held: Held) -> None:
        """Have that one end no later than this one."""
        if self._attached is None:
            self._attached = {}
        self._attached[held] = None

    def _detach(self) -> None:
        """It ends before what it is attached to, or has."""
        if self._under is not None and self._under._attached is not None:
            self._under._attached.pop(self, None)

    def unwanted(self) -> None:
        """Nothing has come of it."""
        self._detach()
        self._core.dispatch.done(self._request)

    def _cancel_body(self) -> None:
        """End the body under it, if there is one."""
        if self._scope is not None:
            self._scope.cancel()

    def _part(self) -> list[Held]:
        """This one has ended, and so has what is attached to it. What of that nobody gives back by himself: a body does when it
        has ended, and who still asks cancels."""
        attached, self._attached = self._attached, None
        return [left for held in attached or () for left in held._orphan()]

    def _orphan(self) -> list[Held]:
        """The lease that it is attached to has ended; as `_part`, with this one."""
        if self._ended is None:
            self._ended = ORPHANED
        left = self._part()
        if self._scope is not None:
            self._scope.cancel()
        elif self._lease is None:
            self.mailbox.put(Ended(self._request, ORPHANED))
        elif not self._released:
            self._released = self._orphaned = True
            left.append(self)
        return left

    def _give_back_later(self) -> None:
        """Nobody waits for it here. It is over when that is confirmed (`_on_event`): until then a peer that stops waits for it,
        and who uses it is told."""
        with suppress(MeshError):  # a peer that has ended holds nothing
            now = self._core.now()
            self._core.act(self._core.holder.release(self._request, now), now)

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
        if deadline is None or self._released or self._ended is not None:
            return 0.0
        if self._until is not None:
            deadline = min(deadline, self._until)
        seconds = max(0.0, (deadline - self._core.now().boot) / NANOSECONDS)
        return seconds if self._under is None else min(seconds, self._under.remaining())

    def valid(self) -> bool:
        """Whether this process may act as the holder at this moment, by its own clock. Local, no network."""
        return self.covers(self._core.now())

    def belongs(self, user: object) -> bool:
        """Whether it is held by this very peer or thin client: whose clock is meant."""
        return user is self._core

    def covers(self, now: Instant) -> bool:
        """Whether it holds at the very moment at which something is written under it."""
        if self._released or self._ended is not None or self._too_long(now):
            return False
        if self._under is not None and not self._under.covers(now):
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
        self._detach()
        core = self._core
        if self._attached and (attached := self._part()):
            await release_all(core, [(held._request, held.mailbox) for held in (*attached, self)])
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
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
        if self._ended is not None:
            why = self._ended
        elif self._released:
            why = "it was released"
        elif self._too_long(self._core.now()):
            why = f"it may be held for {self._most:g} s at the most (max_hold)"
        elif self._under is not None and not self._under.valid():
            why = ORPHANED
        else:
            why = "it could not be renewed in time"
        return LeaseLost(f"{spoken(self.key)} is not held any more: {why}")


async def acquire(core: LeaseCore, wish: Wish, *, wait: bool, renew: bool, under: Held | None = None) -> Held | None:
    """Ask for the lease of a register until it is granted; None if it is not to wait and would have to. It ends with `under`.

    Cancelled at any moment it leaves nothing held and nobody in the queue."""
    holder, dispatch = core.holder, core.dispatch
    await trio.lowlevel.checkpoint_if_cancelled()
    if under is not None and not under.valid():
        raise under.lost()
    request = holder.next_request()
    mailbox = Mailbox()
    dispatch.request(request, mailbox)
    held = Held(core, wish.key, request, mailbox, wish.most, under)
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
                held.unwanted()
                return None
    except BaseException:
        held.unwanted()
        with suppress(MeshError):  # a peer that has ended holds nothing
            now = core.now()
            core.act(holder.cancel(request, now), now)
        raise


async def let_go(core: LeaseCore) -> None:
    """Give back everything that is held or asked for, because the peer stops. Waits `RELEASE_SECONDS` at the most, shielded;
    for rights of budgets as long before."""
    for farewell in core.farewells:
        await farewell()
    await release_all(core, core.dispatch.requests())


async def release_all(core: LeaseCore, requests: list[tuple[int, Mailbox]]) -> None:
    """Several at once. Waits `RELEASE_SECONDS` at the most, shielded; beyond that it goes on in the background."""
    with suppress(MeshError), trio.move_on_after(RELEASE_SECONDS, shield=True), ExitStack() as stack:
        # (A peer that was halted says nothing more.)
        waiting = [stack.enter_context(mailbox.expecting(Released)) for _, mailbox in requests]
        for number, _ in requests:
            now = core.now()
            core.act(core.holder.release(number, now), now)
        for released in waiting:
            await released.outcome()
    for number, _ in requests:
        core.dispatch.done(number)
