"""The queue at an owner: one ticket a waiting request, served in order of arrival.

- Only a fresh waiter is granted: refreshed within 1.5 of its intervals. (A lock handed to the dead, again and again.)
- A ticket that nobody refreshes is forgotten, so a lost cancel leaves no ghost for long.
- A ticket that comes from another owner's queue brings its age and takes the place that this gives it.
- Whoever does not fit beside those that hold keeps back all that came later, also those that would fit. (Readers that come
  and go starve a writer, and small requests a large one.)"""

from __future__ import annotations

from collections.abc import Sequence

from coordination.agreed.vocabulary.modes import EXCLUSIVE, Mode, differs, fits
from coordination.agreed.vocabulary.values import Holding, Value
from mesh.directives import NANOSECONDS, Boot

__all__ = ["FIRST_RENEWAL", "Asker", "Queue", "Ticket", "refresh_interval"]

Asker = tuple[str, Boot, int]

FIRST_RENEWAL = 50_000_000
"""A lease that was waited for is renewed for the first time when it has been held for so long (ns)."""
LONGEST_REFRESH = NANOSECONDS // 2
FORGET_AFTER = 2 * NANOSECONDS


def refresh_interval(ttl: int) -> int:
    return min(ttl // 8, LONGEST_REFRESH)


class Ticket:
    __slots__ = (
        "arrived",
        "asker",
        "binds",
        "delay",
        "interval",
        "mode",
        "refreshed",
        "serial",
        "told",
        "told_serial",
        "ttl",
        "wait",
    )

    def __init__(
        self,
        asker: Asker,
        serial: int,
        ttl: int,
        *,
        wait: bool,
        binds: bool,
        now: int,
        age: int,
        mode: Mode = EXCLUSIVE,
        delay: int = 0,
    ) -> None:
        self.asker = asker
        self.serial = serial
        self.ttl = ttl
        self.mode = mode
        self.delay = delay
        self.wait = wait
        self.binds = binds
        self.interval = refresh_interval(ttl)
        self.refreshed = now
        self.arrived = now - age
        self.told = age > 0
        """Whether it has been told to wait: a grant is then a hand-over, for a short first term."""
        self.told_serial = 0

    def fresh(self, now: int) -> bool:
        return now - self.refreshed <= self.interval + self.interval // 2


class Queue:
    __slots__ = ("_limits", "tickets")

    def __init__(self) -> None:
        self.tickets: dict[Asker, Ticket] = {}
        """In order of arrival; to be changed by its methods alone."""
        self._limits: dict[int, int] = {}
        """How many tickets name which limit."""

    def __len__(self) -> int:
        return len(self.tickets)

    def get(self, asker: Asker) -> Ticket | None:
        return self.tickets.get(asker)

    def add(self, ticket: Ticket) -> None:
        tickets = self.tickets
        last = next(reversed(tickets.values()), None)
        tickets[ticket.asker] = ticket
        limit = ticket.mode.limit
        self._limits[limit] = self._limits.get(limit, 0) + 1
        if last is not None and ticket.arrived < last.arrived:
            self.tickets = dict(sorted(tickets.items(), key=lambda item: item[1].arrived))

    def remove(self, asker: Asker) -> Ticket | None:
        ticket = self.tickets.pop(asker, None)
        if ticket is not None:
            limit = ticket.mode.limit
            if self._limits[limit] > 1:
                self._limits[limit] -= 1
            else:
                del self._limits[limit]
        return ticket

    def first_fresh(self, now: int) -> Ticket | None:
        for ticket in self.tickets.values():
            if ticket.fresh(now):
                return ticket
        return None

    def next_for(self, value: Value, alive: Sequence[Holding], now: int) -> Ticket | None:
        """Whose turn it is, beside those of a register's leases that are alive; None if all have to wait."""
        askers = [holding.lease.asker for holding in alive]
        for ticket in self.tickets.values():
            # A request that has its lease already is answered otherwise.
            if not ticket.fresh(now) or ticket.asker in askers or differs(value, alive, ticket.mode):
                continue
            if fits(value, alive, ticket.mode):
                return ticket
            if ticket.wait:
                return None
        return None

    def mistaken(self, value: Value, alive: Sequence[Holding]) -> list[Ticket]:
        """Those that name another limit than the register has."""
        limits = self._limits
        if not limits or (len(limits) == 1 and value.limit in limits):
            return []
        return [ticket for ticket in self.tickets.values() if differs(value, alive, ticket.mode)]

    def forget_stale(self, now: int) -> None:
        for asker, ticket in list(self.tickets.items()):
            if now - ticket.refreshed > max(4 * ticket.interval, FORGET_AFTER):
                self.remove(asker)

    def impatient(self) -> list[Ticket]:
        """Those that would rather be told than wait."""
        return [ticket for ticket in self.tickets.values() if not ticket.wait]

    def all(self) -> list[Ticket]:
        return list(self.tickets.values())
