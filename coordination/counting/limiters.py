"""Rate limits over the whole mesh, decided by each process alone.

*fast* asks nobody. Each process takes its share, one part of as many members as it sees alive. So in a mesh whose members see
each other, all of them together admit what one limiter would; and more where they do not:

    in any time T       whole mesh                      cut into k sides            n processes that each believe to be alone
    token bucket        max(burst, n) + rate T          k times that                n (burst + rate T)
    sliding window      max(limit, n) in a window       k times that                n limit in a window

(At least one request a process can be had at once: hence the n.) A process that has just started knows nobody for a moment.

*strict* never admits more than the limit in true time: whoever crashes, is paused, or is cut off. Shares are permits of a
semaphore, so that a majority of the voters has granted them, no two processes have one and the same, and its holder knows the
moment from which it must not count on it. Within its share a process decides alone. What was admitted under a permit by its
last holder could be admitted once more by the next one; so a permit is worth nothing when it is new: a bucket begins empty, and
a window opens after one window's length. Clocks may run 1 % fast or slow: the rate is taken for 2 % less, a window for 2 %
longer. A side without a majority admits nothing once its permits have run out; an idle process lets them run out, and others
have them.

Not a budget: that never refills, and what a crashed process held of it is lost for ever. A rate comes back with its permit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

import trio

from coordination.agreed.vocabulary.modes import Mode
from coordination.arguments.checks import check_key, check_lease_ttl
from coordination.core import Core
from coordination.counting.atomic import AtomicRegister
from coordination.counting.rates import MICRO, Rate, SlidingWindow, TokenBucket
from coordination.errors import BadValue, LeaseLost
from coordination.locking.holding import Held, Wish, acquire
from crdt.clock import Instant

__all__ = ["Limiter", "Limiters", "Terms"]

P = ParamSpec("P")
T = TypeVar("T")

PERMITS = 64
"""Of a strict limiter, at most: as many holders as a register takes."""
MARGIN_PERMILLE = 20
"""For clocks that run fast or slow by 1 %: one in a holder, one in whoever measures."""
NS = 1_000_000_000
MAX_RATE = 1e9
MAX_BURST = 1 << 40
MAX_WINDOW = 86_400.0
RENEW_SECONDS = 0.2
"""For which a request waits for its share to be renewed, while it has it."""


class Terms(NamedTuple):
    """What a limiter promises."""

    kind: str
    """bucket, window"""
    pace: int
    """Micro-tokens a second; or ns."""
    whole: int
    """The most requests at once: burst, or limit."""

    @classmethod
    def of(cls, name: str, rate: float | None, burst: int | None, limit: int | None, window: float | None) -> Terms:
        """Raises `BadValue`."""
        if rate is not None and limit is None and window is None:
            check_number("rate", rate, name, MAX_RATE, 1 / MICRO)
            burst = max(1, math.ceil(rate)) if burst is None else burst
            return cls("bucket", round(rate * MICRO), check_count("burst", burst, name))
        if limit is not None and window is not None and rate is None and burst is None:
            check_number("window", window, name, MAX_WINDOW, 0.001)
            return cls("window", round(window * NS), check_count("limit", limit, name))
        raise BadValue(f"the limiter {name!r} has either rate=… and burst=… (a token bucket), or limit=… and window=…")

    def __str__(self) -> str:
        kind, number, most = self
        return f"{number / MICRO:g}/s, burst {most}" if kind == "bucket" else f"{most} in {number / NS:g} s"

    def measure(self, now: int, *, strict: bool) -> Rate:
        kind, number, most = self
        if kind == "bucket":
            return TokenBucket(number * (1000 - MARGIN_PERMILLE) // 1000 if strict else number, most, now, full=not strict)
        return SlidingWindow(most, number * (1000 + MARGIN_PERMILLE) // 1000 if strict else number)

    @property
    def probation(self) -> int:
        """ns for which a new permit of a window is worth nothing."""
        return self.pace * (1000 + MARGIN_PERMILLE) // 1000 if self.kind == "window" else 0


def check_number(what: str, value: float, name: str, most: float, least: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise BadValue(f"the {what} {value!r} of the limiter {name!r} is refused: a number from {least:g} to {most:g}")


def check_count(what: str, value: int, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_BURST:
        raise BadValue(f"the {what} {value!r} of the limiter {name!r} is refused: an integer from 1 to {MAX_BURST}")
    return value


class Limiter(ABC):
    """`peer.limiter(name, rate=10, burst=20, mode="strict")`. All limiters of one name in a peer are one.

    `await limiter.acquire()` waits for its turn, `await limiter.try_acquire()` says at once whether it may be; as a decorator,
    `@limiter`, each call of an async function waits first."""

    def __init__(self, core: Core, name: str, terms: Terms, ttl: float, *, strict: bool) -> None:
        self.name = name
        self.terms = terms
        self._core = core
        self._ttl = ttl
        self._queue = trio.StrictFIFOLock()
        self._rate = terms.measure(core.now().mono, strict=strict)

    # --- deciding ----------------------------------------------------------------------------------------------------

    async def try_acquire(self, n: int = 1) -> bool:
        """Whether n requests may be now; they count, if so. A checkpoint, before anything counts.

        Those who wait in `acquire` come first. In strict mode the first call, and a few later ones, ask the voters for a share.

        Raises
        ------
        BadValue: `n` is no integer from 1 to the burst, or the limit; strict: other terms are in use. NoQuorum: strict.
        """
        self._check(n)
        core = self._core
        await core.turn()
        core.driver.check()
        if self._queue.locked():
            return False
        now = core.now()
        if not self._ready(n, now):
            await self._prepare(n, wait=False)
            now = core.now()
        return self._take(n, now)

    async def acquire(self, n: int = 1) -> None:
        """Wait until n requests may be, in order of arrival. A checkpoint; cancelled, nothing counts. Raises as
        `try_acquire`."""
        self._check(n)
        core = self._core
        await core.turn()
        core.driver.check()
        if not self._queue.locked():
            now = core.now()
            if self._ready(n, now) and self._take(n, now):
                return
        async with self._queue:
            while True:
                core.driver.check()
                now = core.now()
                if not self._ready(n, now):
                    await self._prepare(n, wait=True)
                    now = core.now()
                if self._take(n, now):
                    return
                wait = self._rate.wait(n, now.mono)
                await trio.sleep(min(max(wait, MIN_WAIT), MAX_WAIT) / NS if wait >= 0 else MAX_WAIT / NS)

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """As a decorator of an async function: each call waits for its turn first."""

        @wraps(function)
        async def limited(*args: P.args, **kwargs: P.kwargs) -> T:
            await self.acquire()
            return await function(*args, **kwargs)

        return limited

    def _check(self, n: int) -> None:
        if type(n) is not int or not 0 < n <= self.terms.whole:
            raise BadValue(f"{n!r} at once of the limiter {self.name!r} are refused: an integer from 1 to {self.terms.whole}")

    # --- of the mode -------------------------------------------------------------------------------------------------

    @abstractmethod
    def _ready(self, n: int, now: Instant) -> bool:
        """Whether this process may decide alone, without asking."""

    @abstractmethod
    async def _prepare(self, n: int, *, wait: bool) -> None:
        """Get ready, if that can be; `wait`: for others, if need be."""

    @abstractmethod
    def _take(self, n: int, now: Instant) -> bool: ...


MIN_WAIT = 100_000
MAX_WAIT = NS // 4
"""ns: shares change meanwhile."""


class FastLimiter(Limiter):
    def __init__(self, core: Core, name: str, terms: Terms, ttl: float) -> None:
        super().__init__(core, name, terms, ttl, strict=False)
        self._alive = core.assembly.membership.names_alive
        self._seen: object = None

    def _ready(self, n: int, now: Instant) -> bool:
        alive = self._alive()
        if alive is not self._seen:
            self._seen = alive
            self._rate.share(1, max(1, len(alive)), now.mono, least=1)
        if n > self._rate.most:
            self._rate.at_least(n)
        return True

    async def _prepare(self, n: int, *, wait: bool) -> None:
        raise AssertionError("it is always ready")

    def _take(self, n: int, now: Instant) -> bool:
        return self._rate.take(n, now.mono)


class Share:
    """Permits that this process holds."""

    __slots__ = ("held", "permits", "renew_at", "worth_from")

    def __init__(self, held: Held, permits: int, renew_at: int, worth_from: int) -> None:
        self.held = held
        self.permits = permits
        self.renew_at = renew_at
        """mono ns."""
        self.worth_from = worth_from
        """mono ns."""


class StrictLimiter(Limiter):
    def __init__(self, core: Core, name: str, terms: Terms, ttl: float) -> None:
        super().__init__(core, name, terms, ttl, strict=True)
        check_lease_ttl(ttl, core.longest_ttl())
        self._permits = min(PERMITS, terms.whole)
        self._key = f"semaphore/limiter/{name}"
        self._rate.share(0, 1, core.now().mono)
        self._shares: list[Share] = []
        self._counted = 0
        """Permits that the rate goes by."""
        self._agreed = False
        self._asking = trio.Lock()

    def _ready(self, n: int, now: Instant) -> bool:
        return bool(self._shares) and all(now.mono < share.renew_at for share in self._shares) and n <= self._rate.most

    def _take(self, n: int, now: Instant) -> bool:
        self._count(now)
        return self._rate.take(n, now.mono)

    def _count(self, now: Instant) -> None:
        """Let the rate go by the permits that count at this very moment."""
        worth = 0
        for share in self._shares:
            if share.worth_from <= now.mono and share.held.covers(now):
                worth += share.permits
        if worth != self._counted:
            self._counted = worth
            self._rate.share(worth, self._permits, now.mono)

    async def _prepare(self, n: int, *, wait: bool) -> None:
        core = self._core
        async with self._asking:
            if not self._agreed:
                await self._agree()
            await self._renew()
            for share in [share for share in self._shares if not share.held.valid()]:
                self._shares.remove(share)
                await share.held.release()
            self._count(core.now())  # what was lost takes its part of the bucket with it, before anything is won
            missing = self._wanted(n) - sum([share.permits for share in self._shares])
            if missing > 0:
                await self._more(missing, wait=wait and not self._shares)

    def _wanted(self, n: int) -> int:
        """One part of the permits for each member, but enough for n requests."""
        members = max(1, len(self._core.assembly.membership.names_alive()))
        enough = -(-n * self._permits // self.terms.whole)
        return min(self._permits, max(1, self._permits // members, enough))

    async def _renew(self) -> None:
        core, now = self._core, self._core.now().mono
        wanted = self._wanted(1)
        for share in self._shares:
            if now < share.renew_at:
                continue
            if len(self._shares) == 1 and share.permits > 2 * wanted:  # others have come, who want theirs
                await share.held.release()
                continue
            with suppress(LeaseLost), trio.move_on_after(RENEW_SECONDS):
                await share.held.renew()
            now = core.now().mono
            share.renew_at = now + int(min(share.held.remaining(), self._ttl) * NS) // 2

    async def _more(self, permits: int, *, wait: bool) -> None:
        """Ask for so many permits, or fewer."""
        core = self._core
        while True:
            wish = Wish(self._key, round(self._ttl * NS), Mode(permits, self._permits))
            held = await acquire(core, wish, wait=wait and permits == 1, renew=False)
            if held is not None:
                now = core.now().mono
                renew_at = now + int(held.remaining() * NS) // 2
                self._shares.append(Share(held, permits, renew_at, now + self.terms.probation))
                return
            if permits == 1:
                return
            permits = permits // 2

    async def _agree(self) -> None:
        """Everyone goes by the same terms: the first to use the limiter sets them."""
        register, terms = AtomicRegister(self._core, f"limiter/{self.name}"), list(self.terms)
        if not await register.compare_and_set(None, terms) and (found := await register.get()) != terms:
            raise BadValue(f"the limiter {self.name!r} has other terms in this mesh, {found!r}: name the same ones everywhere")
        self._agreed = True


class Limiters:
    """Those of one peer, by name."""

    __slots__ = ("_core", "_limiters")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._limiters: dict[str, Limiter] = {}

    def get(self, name: str, terms: Terms, mode: str, ttl: float) -> Limiter:
        check_key(name, "limiter name")
        kinds = {"strict": StrictLimiter, "fast": FastLimiter}
        if mode not in kinds:
            raise BadValue(f"the mode {mode!r} of the limiter {name!r} is none: strict or fast")
        known = self._limiters.get(name)
        if known is None:
            known = self._limiters[name] = kinds[mode](self._core, name, terms, ttl)
        elif (type(known), known.terms) != (kinds[mode], terms):
            raise BadValue(f"the limiter {name!r} is in use in this process with other terms: {known.terms}")
        return known
