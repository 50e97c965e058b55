"""The census: which locks are held, as all voters know them together.

A voter answers page by page, from the keys that it kept when the first page was asked for, in order, and goes through a bounded
number of them at each step: most of what it keeps is free, and it may be a quarter of a million.

Pages go on behind a key, not at a place, and what is gone through belongs to one question of one process. (Places move when
registers are forgotten: if the last page is lost and asked for once more, the list is another one, and held locks lie between
two pages. And the asker's next process would be told from the list that was made for the one before it.)

A lease counts if q of its register's voters may call it live: so many say so, or have not answered. (One that was not told of a
release keeps to the lease for a ttl; those that were told say nothing of what is free.)"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable

from coordination.agreed.rosters.birth import Birth
from coordination.agreed.vocabulary.events import Listed
from coordination.agreed.vocabulary.placement import Group, placement_of
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.registers import LOCKS
from coordination.agreed.vocabulary.telling_messages import ListAnswer, ListAsk, ListRow, Standing
from coordination.agreed.voting.acceptor import Acceptor
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Arm, Boot, Directive, Directives, Disarm, Emit, Event, Message, Send, Source

__all__ = ["Census"]

KEYS_A_PAGE = 2_048
"""Looked at; the page has those of them that are held."""
ASK_AGAIN = NANOSECONDS // 4
GIVE_UP = 2 * NANOSECONDS
COUNTS_KEPT = 16
"""Of askers, at one voter: the oldest has to begin anew."""


class Counting:
    """One question of this node, to all voters."""

    __slots__ = ("began", "leases", "pages", "prefix", "quorum")

    def __init__(self, prefix: str, voters: tuple[str, ...], quorum: int, now: int) -> None:
        self.prefix = prefix
        self.quorum = quorum
        self.began = now
        self.pages: dict[str, str] = dict.fromkeys(voters, "")
        """Of each voter that has not told all, the key behind which it is to go on."""
        self.leases: dict[str, dict[int, dict[str, Standing]]] = {}
        """By register and token, what each voter that calls it live says of it."""

    def take(self, voter: str, rows: tuple[ListRow, ...]) -> None:
        for row in rows:
            leases = self.leases.setdefault(row.key, {})
            for each in row.holders:
                if each.remaining:
                    leases.setdefault(each.token, {})[voter] = each

    def held(self, key: str, group: Group) -> tuple[tuple[str, int, float, int], ...]:
        """The holders of a register, in order of their tokens."""
        found = []
        silent = sum([name in self.pages for name in group])
        for token, told in sorted(self.leases[key].items()):
            if len([name for name in told if name in group]) + silent >= group.quorum:
                each = max(told.values(), key=lambda standing: standing.remaining)
                found.append((each.name, token, each.remaining / NANOSECONDS, each.permits))
        return tuple(found)


class Census:
    name = "census"
    messages = (ListAsk, ListAnswer)
    hears: tuple[type[Event], ...] = ()

    def __init__(self, identity: Identity, birth: Birth, acceptor: Acceptor) -> None:
        self._identity = identity
        self._birth = birth
        self._acceptor = acceptor
        self._countings: dict[int, Counting] = {}
        self._keys: dict[tuple[str, Boot, int], list[str]] = {}
        """What is gone through for a question of a process."""
        self._counts: Counter[str] = Counter()

    def count(self, query: int, prefix: str, now: Instant) -> Directives:
        """Answered by `Listed(query, ...)` once all voters have told all, or after 2 s."""
        roster = self._birth.roster
        if roster is None:
            return (Emit(Listed(query, (), self._birth.waiting_for(), False)),)
        self._countings[query] = counting = Counting(prefix, roster.voters, roster.majority, now.mono)
        return (*self._ask(query, counting), Arm(query, now.mono + ASK_AGAIN))

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        if isinstance(message, ListAsk):
            return (Send(message.name, self._answer(message, now)),)
        if isinstance(message, ListAnswer):
            counting = self._countings.get(message.query)
            if message.asker != self._identity.boot:
                self._counts["outdated"] += 1
            elif counting is not None and counting.pages.get(message.voter) == message.after:
                counting.take(message.voter, message.rows)
                if message.following > message.after:
                    counting.pages[message.voter] = message.following
                    return (Send(message.voter, self._asked(message.query, counting, message.voter)),)
                del counting.pages[message.voter]
                if not counting.pages:
                    return (Disarm(message.query), *self._conclude(message.query))
        return ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        counting = self._countings.get(timer) if isinstance(timer, int) else None
        if counting is None or not isinstance(timer, int):
            return ()
        if now.mono - counting.began >= GIVE_UP:
            return self._conclude(timer)
        return (*self._ask(timer, counting), Arm(timer, now.mono + ASK_AGAIN))

    def on_event(self, event: Event, now: Instant) -> Directives:
        return ()

    def stats(self) -> dict[str, int]:
        return {"counting": len(self._countings), **self._counts}

    def _ask(self, query: int, counting: Counting) -> list[Directive]:
        return [Send(voter, self._asked(query, counting, voter)) for voter in counting.pages]

    def _asked(self, query: int, counting: Counting, voter: str) -> ListAsk:
        return ListAsk(query, self._identity.name, self._identity.boot, counting.prefix, counting.pages[voter])

    def _answer(self, ask: ListAsk, now: Instant) -> ListAnswer:
        who = (ask.name, ask.boot, ask.query)
        keys = self._keys.get(who)
        if keys is None:
            if ask.after:
                self._counts["forgotten"] += 1
            if len(self._keys) >= COUNTS_KEPT:
                del self._keys[next(iter(self._keys))]
            keys = self._keys[who] = self._wanted(ask.prefix)
        first = bisect_right(keys, ask.after)
        page = keys[first : first + KEYS_A_PAGE]
        rows = [row for key in page if (row := self._row(key, now)) is not None]
        following = page[-1] if first + KEYS_A_PAGE < len(keys) else ""
        if not following:
            del self._keys[who]
        return ListAnswer(ask.query, ask.boot, self._identity.name, ask.after, tuple(rows), following)

    def _wanted(self, prefix: str) -> list[str]:
        """The keys of locks whose names begin so, in order."""
        beginnings = tuple([f"{kind}/{prefix}" for kind in LOCKS])
        kept = self._acceptor.keys()
        return sorted([key for key in kept if key.startswith(beginnings)])

    def _row(self, key: str, now: Instant) -> ListRow | None:
        register = self._acceptor.register(key)
        if register is None or not register.leases:
            return None
        left = {live.lease: live.remaining for live in register.live(now.mono)}
        holders = [
            Standing(each.lease.name, each.lease.token, each.permits, left.get(each.lease, 0))
            for each in register.value.holdings
        ]
        return ListRow(key, register.accepted, tuple(holders)) if any(left.values()) else None

    def _conclude(self, query: int) -> list[Directive]:
        counting = self._countings.pop(query)
        missing = tuple(counting.pages)
        roster = self._birth.roster
        if roster is None:
            return [Emit(Listed(query, (), missing, False))]
        placement = placement_of(roster)
        held = [(key, counting.held(key, placement.group(key))) for key in sorted(counting.leases)]
        found = tuple([each for each in held if each[1]])
        return [Emit(Listed(query, found, missing, len(roster.voters) - len(missing) >= counting.quorum))]
