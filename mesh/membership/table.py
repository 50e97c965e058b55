"""The members that this node knows, one entry a name.

Rules:
  - an entry is replaced by what supersedes it (`mesh.membership.member`) and by nothing else, so it never goes down;
  - only Alive introduces a process: suspicion, death and leave of an unknown name or of an unknown newer boot are not
    shown, but its boot is remembered, for a newcomer of that name must outbid it;
  - the table is bounded: when it is full the longest gone makes room, but pinned names (voters) never do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import NamedTuple

from mesh.directives import Address, Boot
from mesh.membership.member import Member, State, supersedes
from mesh.membership.messages import TABLE_DIGEST_BYTES, News, entry_of
from mesh.wire import encode

__all__ = ["MAX_BOOTS", "MAX_MEMBERS", "Change", "Table"]

MAX_MEMBERS = 8_192
"""Entries, the dead and the left included."""

MAX_BOOTS = 8_192
"""Names whose highest boot is remembered; the longest unheard goes first."""


class Change(NamedTuple):
    member: Member
    previous: Member | None

    @property
    def visible(self) -> bool:
        """Whether anything changed that users see: a higher incarnation alone is none of their business."""
        old, new = self.previous, self.member
        return old is None or (old.state, old.boot, old.address, old.tags) != (
            new.state,
            new.boot,
            new.address,
            new.tags,
        )


class Table:
    __slots__ = (
        "_addresses",
        "_alive",
        "_all",
        "_boots",
        "_changed",
        "_digest",
        "_hashes",
        "_members",
        "_others",
        "_pinned",
        "_sessions",
        "_since",
        "get",
        "own_name",
        "standing",
    )

    def __init__(self, own_name: str) -> None:
        self.own_name = own_name
        self._members: dict[str, Member] = {}
        self.get: Callable[[str], Member | None] = self._members.get
        """The entry of a name. It is asked for with nearly everything that comes and goes, so it is the dictionary's own."""
        self._sessions: dict[bytes, str] = {}
        self._addresses: dict[Address, dict[str, None]] = {}
        self._boots: dict[str, Boot] = {}
        self._since: dict[str, int] = {}
        self._pinned: frozenset[str] = frozenset()
        self._all: tuple[Member, ...] | None = None
        self._alive: tuple[str, ...] | None = None
        self._others: tuple[Member, ...] | None = None
        self.standing = 0
        """How many are alive or suspect, this node included: the N of every formula."""
        self._digest = 0
        """Exclusive or of `_hashes`."""
        self._hashes: dict[str, int] = {}
        self._changed: dict[str, None] = {}
        """Names whose hash is to be looked at again."""

    # --- reading ---------------------------------------------------------------------------------------------------

    def own(self) -> Member:
        """This node's entry, which is there from its start."""
        return self._members[self.own_name]

    def by_session(self, session: bytes) -> Member | None:
        name = self._sessions.get(session)
        return None if name is None else self._members[name]

    def at(self, address: Address) -> tuple[Member, ...]:
        """Everyone whose entry gives this address."""
        return tuple(self._members[name] for name in self._addresses.get(address, ()))

    def all(self) -> tuple[Member, ...]:
        """Every entry, by name."""
        if self._all is None:
            self._all = tuple(self._members[name] for name in sorted(self._members))
        return self._all

    def names_alive(self) -> tuple[str, ...]:
        """The names of those alive or suspect, this node included, sorted."""
        if self._alive is None:
            self._alive = tuple([member.name for member in self.all() if member.reachable])
        return self._alive

    def others(self) -> tuple[Member, ...]:
        """Those alive or suspect but this node, by name."""
        if self._others is None:
            own = self.own_name
            self._others = tuple([member for member in self.all() if member.reachable and member.name != own])
        return self._others

    def highest_boot(self, name: str, but: bytes) -> Boot | None:
        """The highest boot that this name is known to have had, but for the session `but`."""
        known = self._members.get(name)
        boots = [boot for boot in (self._boots.get(name), known.boot if known else None) if boot and boot.session != but]
        return max(boots, default=None)

    def digest(self) -> bytes:
        """Equal for tables that are equal, and for no others. It costs what has changed since it was asked for last."""
        for name in self._changed:
            self._digest ^= self._hashes.pop(name, 0)
            member = self._members.get(name)
            if member is not None:
                encoded = encode(News(entry_of(member), None))
                self._hashes[name] = hashed = int.from_bytes(blake2b(encoded, digest_size=TABLE_DIGEST_BYTES).digest(), "big")
                self._digest ^= hashed
        self._changed.clear()
        return self._digest.to_bytes(TABLE_DIGEST_BYTES, "big")

    def since(self, name: str) -> int:
        """Monotonic ns of the last change of state."""
        return self._since[name]

    def __len__(self) -> int:
        return len(self._members)

    # --- changing --------------------------------------------------------------------------------------------------

    def pin(self, names: Iterable[str]) -> None:
        self._pinned = frozenset(names)

    def pinned(self, name: str) -> bool:
        return name in self._pinned

    def note_boot(self, name: str, boot: Boot) -> None:
        """Remember that this name has had this boot."""
        highest = self._boots.pop(name, boot)
        self._boots[name] = max(boot, highest)
        if len(self._boots) > MAX_BOOTS:
            del self._boots[next(iter(self._boots))]

    def apply(self, news: Member, now: int) -> Change | None:
        """Take in news; None if it changes nothing."""
        known = self._members.get(news.name)
        if known is None or news.boot > known.boot:
            self.note_boot(news.name, news.boot)
            if news.state is not State.ALIVE:
                return None
        elif not supersedes(news, known):
            return None
        if known is not None:
            self._unlink(known)
        self._members[news.name] = news
        self._sessions[news.boot.session] = news.name
        self._addresses.setdefault(news.address, {})[news.name] = None
        self.standing += news.reachable - (known is not None and known.reachable)
        if known is None or known.state is not news.state:
            self._since[news.name] = now
        self._all = self._alive = self._others = None
        self._changed[news.name] = None
        return Change(news, known)

    def room(self) -> Member | None:
        """The entry that must go before another name fits in; None while there is room, or if none may go."""
        if len(self._members) < MAX_MEMBERS:
            return None
        gone = [name for name, member in self._members.items() if not member.reachable and name not in self._pinned]
        return self._members[min(gone, key=lambda name: (self._since[name], name))] if gone else None

    @property
    def full(self) -> bool:
        return len(self._members) >= MAX_MEMBERS

    def remove(self, name: str) -> None:
        member = self._members.pop(name)
        self._unlink(member)
        del self._since[name]
        self.standing -= member.reachable
        self._all = self._alive = self._others = None
        self._changed[name] = None

    def _unlink(self, member: Member) -> None:
        if self._sessions.get(member.boot.session) == member.name:
            del self._sessions[member.boot.session]
        names = self._addresses[member.address]
        del names[member.name]
        if not names:
            del self._addresses[member.address]
