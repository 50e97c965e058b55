"""The last changes of a store, for followers that come back: who was told up to a revision that is still in here goes on behind
it, and misses nothing; anyone else begins with a fresh snapshot.

A *token* names the store and how far a follower had come. Revisions are local, so a token is good at the peer,
or the sponsor, that gave it, for as long as its process lives."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from coordination.errors import BadValue
from coordination.following.feed import Feed, Position
from coordination.following.interest import wants
from crdt.change import Change
from crdt.clock import Stamp
from crdt.store import Store

__all__ = ["JOURNAL_BYTES", "JOURNAL_CHANGES", "Journal", "parse_token", "resume", "token_of"]

JOURNAL_CHANGES = 8_192
JOURNAL_BYTES = 4 << 20
"""Of keys and values, new and old."""


class Journal:
    """Empty until `begin`: a peer that nobody watches keeps nothing."""

    __slots__ = ("_bytes", "_changes", "_floor")

    def __init__(self) -> None:
        self._changes: deque[Change] = deque()
        self._bytes = 0
        self._floor = -1
        """Everything above this revision is here; -1 before it has begun."""

    def __len__(self) -> int:
        return len(self._changes)

    def begin(self, revision: int) -> None:
        """Keep what changes from this revision on. Once."""
        if self._floor < 0:
            self._floor = revision

    def add(self, changes: Iterable[Change]) -> None:
        if self._floor < 0:
            return
        kept = self._changes
        for change in changes:
            if change.revision <= self._floor:
                continue
            kept.append(change)
            self._bytes += _size(change)
        while len(kept) > JOURNAL_CHANGES or self._bytes > JOURNAL_BYTES:
            oldest = kept.popleft()
            self._bytes -= _size(oldest)
            self._floor = oldest.revision

    def since(self, revision: int) -> Iterator[Change] | None:
        """What changed after a revision; None if not all of it is here."""
        if not 0 <= self._floor <= revision:
            return None
        return iter([change for change in self._changes if change.revision > revision])


def _size(change: Change) -> int:
    old = change.old
    return len(change.key) + len(change.new.body or b"") + (len(old.body or b"") if old is not None else 0)


def token_of(session: bytes, position: Position) -> str:
    """What a follower keeps to come back with."""
    return "-".join((session.hex(), *map(str, position)))


def parse_token(token: str) -> tuple[bytes, Position]:
    """The store's session, and how far the follower had come.

    Raises
    ------
    BadValue: it is no token.
    """
    session, *numbers = token.split("-") if isinstance(token, str) else [""]
    try:
        found = bytes.fromhex(session)
        if len(found) != 16 or not all(number.isascii() and number.isdecimal() for number in numbers):
            raise ValueError
        position = Position(*[int(number) for number in numbers])
    except (TypeError, ValueError):
        raise BadValue(f"{token!r} is no token of a watch: hand in what `changes.token` was") from None
    return found, position


def resume(feed: Feed, store: Store, stamp: Stamp, journal: Journal, told: tuple[bytes, Position] | None) -> None:
    """Begin to follow from now on; or behind what was told, by a token of this store; or, if that is not known any more, with
    `resync` and a snapshot."""
    if told is None:
        feed.begin(store, stamp)
        return
    session, (floor, read, ceiling) = told
    missed = journal.since(floor) if session == store.actor and floor <= read <= ceiling <= store.revision else None
    wanted = [change for change in missed if wants(feed, change.key)] if missed is not None else None
    if wanted is None or any(change.fell for change in wanted):
        feed.lag()
        return
    feed.go_on(told[1], wanted)
