"""One process's part in a budget: a bounded counter of which nobody ever spends more than there is.

The budget itself is one atomic register, [version, limit, settled, {name: [session, rights, attempt]}]:

    settled      has been spent for good
    rights       of each holder: chunks that were granted to it and not settled yet. It has spent some of them, which it alone
    knows free         limit - settled - all rights: what can still be granted

A process spends its own rights without asking anyone, also in a partition, and asks the register, by compare-and-set, for more
before they end. Why nothing is ever overspent:

  - At each moment settled + all rights <= limit, as every change of the register keeps it; and what a process has spent and
    not settled is at most its rights. So what was spent is at most the limit, whatever anyone sees or does not see.
  - *What a process spends is taken from its rights before the spender is told.* What it gives back (`held`) it takes from
  itself
    before it asks, and spends again only once it knows that the change was not made, and cannot be made any more.
  - A change whose outcome is unknown may still be made later. Each value has a version, so it is made while the register is at
  the
    version that it was asked on, or never. Each holder numbers its attempts, and its entry names the last that was made: so
    who finds a later version knows which of its doubtful attempts was made, and that the others never will be.
  - *Whoever dies takes its rights with it.* How many of them it had spent nobody knows; counted as unspent, they could be
    spent twice. No timeout helps, nor a lease: that the holder can spend no more says nothing of what it has spent. So they
    stay counted as spent, at most one chunk a crash; the entry of a former process of the same name is settled when the next
    asks. Settling is always safe, even if that process lives: it spends what is settled already. A small `chunk` loses less and
    asks more often; 0 holds nothing, asks each time, and loses nothing.
  - A paused process spends its rights when it goes on, as nobody else has them: nothing of this depends on clocks.

Sans I/O: what it wants of the register it answers with, and is told what came of it. After the bounded counter of Balegas et
al. (2015), with a register of consensus in place of their matrix of transfers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

__all__ = ["CompareAndSet", "Ledger", "Outcome", "Purse", "Read", "Request", "Want", "read_ledger"]

MANY = 256
"""Entries of a ledger, of which those without rights are dropped then."""


class Entry(NamedTuple):
    session: str
    rights: int
    attempt: int
    """The last change of this holder that was made."""


class Ledger(NamedTuple):
    """What the register holds."""

    version: int
    limit: int
    settled: int
    holders: dict[str, Entry]

    @property
    def free(self) -> int:
        return self.limit - self.settled - sum([entry.rights for entry in self.holders.values()])

    def plain(self) -> list[Any]:
        """As a value."""
        return [self.version, self.limit, self.settled, {name: list(entry) for name, entry in self.holders.items()}]


def read_ledger(value: Any) -> Ledger | None:
    """None if the value is no ledger, or not a sound one: then somebody else has written that register."""
    if not (type(value) is list and len(value) == 4 and all(type(each) is int and each >= 0 for each in value[:3])):
        return None
    version, limit, settled, raw = value
    if type(raw) is not dict:
        return None
    holders: dict[str, Entry] = {}
    for name, entry in raw.items():
        if not (type(entry) is list and len(entry) == 3 and type(entry[0]) is str):
            return None
        if any(type(each) is not int or each < 0 for each in entry[1:]):
            return None
        holders[name] = Entry(*entry)
    ledger = Ledger(version, limit, settled, holders)
    return ledger if ledger.free >= 0 else None


class Want(Enum):
    SPEND = "spend"
    REFUND = "refund"
    RESIZE = "resize"
    GIVE_BACK = "give back"
    LOOK = "look"


class Outcome(Enum):
    """What came of a request."""

    DONE = "done"
    EXHAUSTED = "exhausted"
    OTHER_LIMIT = "other limit"
    NO_BUDGET = "no budget"
    """It does not exist, and no limit was named."""
    FOREIGN = "foreign"
    """The register holds something else."""
    REFUSED = "refused"
    """More refunded than was spent; or a limit below what is spent or handed out."""
    FAILED = "failed"
    """The register could not be asked: nothing was done."""
    UNKNOWN = "unknown"
    """As above, and whether it was done is not known."""


@dataclass(slots=True, eq=False)
class Request:
    want: Want
    n: int = 0
    done: Callable[[Request], None] = field(default=lambda request: None)
    outcome: Outcome | None = None
    error: Exception | None = None
    """Why it failed."""
    ledger: Ledger | None = None
    """What was known of the budget at the end."""
    looked: bool = False
    """Whether the register was read since it was asked: nothing is refused on what was known before."""


class Read(NamedTuple):
    """Read the register."""


class CompareAndSet(NamedTuple):
    old: Any
    new: Any


class _Change(NamedTuple):
    """A change of the ledger by this process, under way or in doubt."""

    attempt: int
    ledger: Ledger
    """That it makes."""
    settles: int
    """Of what was used."""
    request: Request | None


class Purse:
    """Parameters
    ----------
    limit: of the budget; None to go by whatever it has.
    name, session: of this process.
    chunk: the most rights to hold; None for a share of what is free.
    sharers: how many processes may want rights.
    """

    __slots__ = (
        "_attempt",
        "_busy",
        "_changes",
        "_known",
        "_low",
        "_name",
        "_named",
        "_requests",
        "_session",
        "_sharers",
        "_trying",
        "chunk",
        "held",
        "limit",
        "rights",
        "used",
    )

    def __init__(
        self, limit: int | None, name: str, session: str, chunk: int | None = None, sharers: Callable[[], int] = lambda: 1
    ) -> None:
        self.limit = limit
        self.chunk = chunk
        self.rights = 0
        """That may be spent here and now."""
        self.used = 0
        """Spent, and not settled in the register, as far as is known."""
        self.held = 0
        """On their way back: not to be spent until it is known that they did not arrive."""
        self._named = limit is not None
        self._name = name
        self._session = session
        self._sharers = sharers
        self._attempt = 0
        """The last change that was tried."""
        self._requests: deque[Request] = deque()
        self._busy = False
        self._known: Ledger | None = None
        """What the register held when it was last heard of."""
        self._changes: list[_Change] = []
        """That may have been made, or may be yet: all of one version of the ledger, so one of them at the most."""
        self._trying: _Change | None = None
        """Of them the one that is under way."""
        self._low = 0

    # --- local -------------------------------------------------------------------------------------------------------

    def spend(self, n: int) -> bool:
        """Spend of the rights that are here; False if there are not so many, or others wait for them."""
        if n > self.rights:
            return False
        self.rights -= n
        self.used += n
        return True

    def refund(self, n: int) -> bool:
        """Take back what was spent here and is not settled, nor about to be; False if that is less."""
        if n > self.used - max([change.settles for change in self._changes], default=0):
            return False
        self.rights += n
        self.used -= n
        return True

    @property
    def low(self) -> bool:
        """Whether it is time to ask for more rights before they end."""
        return self.rights < self._low and not self._busy

    @property
    def waiting(self) -> bool:
        return bool(self._requests)

    @property
    def known(self) -> Ledger | None:
        """What the register held when it was last heard of."""
        return self._known

    def name_limit(self, limit: int) -> None:
        """The user names the limit, where none was known."""
        self._named = True
        if self.limit is None:
            self.limit = limit

    @property
    def holds(self) -> bool:
        """Whether there is anything to give back or to settle."""
        return bool(self.rights or self.used or self.held or self._changes)

    def ask(self, request: Request) -> None:
        """To be done in turn: `next` says how."""
        self._requests.append(request)

    def withdraw(self, request: Request) -> None:
        """Whoever asked waits no more. A spend that was not done will not be."""
        if request in self._requests:
            self._requests.remove(request)

    # --- the register ------------------------------------------------------------------------------------------------

    def next(self, *, prefetch: bool = False) -> Read | CompareAndSet | None:
        """What to do with the register now; None if nothing, or while something is under way. `prefetch`: also without a
        request, for rights in advance."""
        while self._requests and not self._busy:
            request = self._requests[0]
            if request.want is Want.SPEND and self.spend(request.n):
                self._end(request, Outcome.DONE)
            elif self._known is None or request.want is Want.LOOK:
                return self._read()
            elif (change := self._plan(self._known, request)) is not None:
                return self._set(change)
        if prefetch and not self._busy and self.chunk != 0:
            if self._known is None:
                return self._read()
            change = self._plan(self._known, None)
            if change is not None:
                return self._set(change)
        return None

    def _read(self) -> Read:
        self._busy = True
        return Read()

    def _set(self, change: _Change) -> CompareAndSet:
        assert self._known is not None
        self._busy = True
        self._changes.append(change)
        self._trying = change
        # What the entry will not have any more must not be spent meanwhile.
        returned = max(0, self.rights - change.ledger.holders[self._name].rights)
        self.rights -= returned
        self.held += returned
        return CompareAndSet(self._known.plain() if self._known.version else None, change.ledger.plain())

    def _plan(self, ledger: Ledger, request: Request | None) -> _Change | None:
        """The change towards a request, or for rights in advance; None if there is none to make: a request is ended then."""
        own = ledger.holders.get(self._name)
        limit, settled, free = ledger.limit, ledger.settled, ledger.free
        if own is None or own.session != self._session:
            # A former process of this name, or a later one that has settled what this one had. Nothing here is in the ledger.
            settled += own.rights if own is not None else 0
            rights = self.rights = self.used = self.held = 0
        else:
            rights = own.rights - self.used
        settled += self.used
        granted = 0
        if self._changes:
            request = None  # first of all the doubt is ended: by any change
        elif request is None:
            granted = self._share(free)
            if not granted:
                self._known = None  # next time there may be some
                return None
        elif request.want is Want.SPEND:
            missing = request.n - self.rights
            if missing > free:
                self._refuse(request, Outcome.EXHAUSTED, ledger)
                return None
            granted = max(missing, self._share(free))
        elif request.want is Want.REFUND:
            if request.n > settled:
                self._refuse(request, Outcome.REFUSED, ledger)
                return None
            settled -= request.n
        elif request.want is Want.RESIZE:
            if request.n < limit - free:
                self._refuse(request, Outcome.REFUSED, ledger)
                return None
            limit = request.n
        elif request.want is Want.GIVE_BACK:
            if not self.holds:
                self._end(request, Outcome.DONE)
                return None
            rights = 0
            self._low = 0
        self._attempt += 1
        holders = {name: entry for name, entry in ledger.holders.items() if len(ledger.holders) < MANY or entry.rights}
        holders[self._name] = Entry(self._session, rights + granted, self._attempt)
        changed = Ledger(ledger.version + 1, limit, settled, holders)
        assert changed.free >= 0 and rights >= 0
        return _Change(self._attempt, changed, self.used, request)

    def _refuse(self, request: Request, outcome: Outcome, ledger: Ledger) -> None:
        if not request.looked:
            self._known = None
            return
        request.ledger = ledger
        self._end(request, outcome)

    def _share(self, free: int) -> int:
        """Rights to take beyond those that are here: enough to go on for a while, leaving as much to each other."""
        wanted = max(min(1, free), free // (2 * max(1, self._sharers())))
        if self.chunk is not None:
            wanted = min(wanted, max(0, self.chunk - self.rights))
        self._low = max(1, (self.rights + wanted) // 2) if wanted else 0
        return wanted

    # --- what came of it ---------------------------------------------------------------------------------------------

    def was_read(self, value: Any) -> None:
        """The register held this; None if it was never set."""
        self._busy = False
        ledger = read_ledger(value)
        if value is None and self.limit is not None:
            ledger = Ledger(0, self.limit, 0, {})
        if ledger is None:
            self._end_all(Outcome.NO_BUDGET if value is None else Outcome.FOREIGN)
            return
        if not self._named:
            self.limit = ledger.limit
        if self.limit != ledger.limit:
            self._end_all(Outcome.OTHER_LIMIT, ledger)
            return
        self._known = ledger
        self._learn(ledger)
        for request in self._requests:
            request.looked = True
        for request in [each for each in self._requests if each.want is Want.LOOK]:
            request.ledger = ledger
            self._end(request, Outcome.DONE)

    def was_set(self, done: bool) -> None:
        """The compare-and-set was made; or it was not, and never will be, as the register held something else."""
        self._busy = False
        change, self._trying = self._trying, None
        assert change is not None
        if not done:
            self._known = None
            self._unmade(change)
            return
        self._known = change.ledger
        self._learn(change.ledger)
        request = change.request
        if request is not None and request.want is not Want.SPEND:
            if request.want is Want.RESIZE:
                self.limit = change.ledger.limit
            self._end(request, Outcome.DONE)

    def failed(self, error: Exception, *, unknown: bool) -> None:
        """The register could not be asked. `unknown`: the change that was tried may have been made, or may be yet."""
        self._busy = False
        tried, self._trying = self._trying, None
        self._known = None
        if tried is not None and not unknown:
            self._unmade(tried)
        for request in list(self._requests):
            request.error = error
            doubtful = unknown and tried is not None and tried.request is request and request.want is not Want.SPEND
            self._end(request, Outcome.UNKNOWN if doubtful else Outcome.FAILED)

    def _learn(self, ledger: Ledger) -> None:
        """The register was at this: so of the changes that were asked on an earlier version one was made, or none, and none
        will be."""
        own = ledger.holders.get(self._name)
        if own is not None and own.session == self._session:
            self.used -= sum([change.settles for change in self._changes if change.attempt == own.attempt])
        self._changes = [change for change in self._changes if change.ledger.version > ledger.version]
        if not self._changes and own is not None and own.session == self._session:
            self.rights, self.held = own.rights - self.used, 0

    def _unmade(self, change: _Change) -> None:
        """It was not made, and never will be."""
        self._changes.remove(change)
        if not self._changes:
            self.rights, self.held = self.rights + self.held, 0

    def _end(self, request: Request, outcome: Outcome) -> None:
        request.outcome = outcome
        if request in self._requests:
            self._requests.remove(request)
        request.done(request)

    def _end_all(self, outcome: Outcome, ledger: Ledger | None = None) -> None:
        for request in list(self._requests):
            request.ledger = ledger
            self._end(request, outcome)
