"""What a voter writes down, so that its promises outlive its process.

    register    a key's promise, what it accepted, the highest token, and which leases have ended
    promise     the birth of the mesh, as far as this node has promised and accepted
    roster      the decided roster: who has it knows its mesh, and votes without asking anyone
    standing    of an elastic roster: all those that followed, and what was promised and accepted about the next one
    boot        the newest process of this name on this disk
    complete    that nothing is missing here: see below
    known       the newest process of other voters that have forgotten, as they said (`known_boots`)

Each with what breaks without it:

  - A promise, and what was accepted, is durable before it is answered; the voter's own proposer counts its vote then and no
    sooner. (It restarts, has promised nothing, and votes for another: a decided value is lost.)
  - Whatever is answered later rests on it, too: the repeated accept, the renewal. (The first answer waits for the disk, its
    repetition does not, and is believed.)
  - Renewals are not written down. So every stored lease that has not been released counts as live for its full ttl (and
    delay) from the restart, whenever it began. (It ends here while its holder, renewed a moment before the crash, believes
    in it.)
  - Releases are written down. (After a restart of all, what everyone gave back is closed for a ttl.)
  - Of atomic registers it counts if it began with the mesh (`RosterNote.founding`), or for those that were read back: no others
    are kept. So what was read back is durable, too, before it is voted on. (See `atomic_memory`.)
  - Memory counts only if it is complete: if its first process abstained for M in full, or was there when the mesh was born.
    An empty disk is that of a new node, or one that was wiped. (It forgot what it promised, and takes part.)
  - While the disk does not take what is promised, nothing is. (The promise is in memory alone, and may never be more.)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.values import LeaseId, Value
from coordination.agreed.voting.register import Kept, Register
from mesh.directives import Boot, Directive, Persist
from mesh.memory import Memory, Tables
from mesh.records import NewerRecordError, RecordKind
from mesh.replication import CELLS, REPLICA, REPLICAS
from mesh.rotation import KEYRING

__all__ = [
    "ONLY",
    "BootNote",
    "CompleteNote",
    "PromiseNote",
    "RegisterNote",
    "RosterNote",
    "StandingNote",
    "VoterMemory",
    "check_tables",
]

T = TypeVar("T")

ONLY = b""
"""The key of a table of one record."""


class RegisterNote(NamedTuple):
    promised: Ballot
    accepted: Ballot
    value: Value
    binds: tuple[bool, ...]
    """Of each holding: whether its end must be told, as its renewals may have said since it was accepted."""
    highest: int
    ended: tuple[LeaseId, ...]
    since: int = 0
    """Of an atomic register: the roster from which on nothing of it is missing here."""


class PromiseNote(NamedTuple):
    promised: Ballot
    accepted: Ballot
    roster: RosterValue | None
    """What was accepted."""
    here: Ballot = ZERO
    """The highest ballot that was accepted on this disk: `accepted` may be what others told."""
    before: tuple[Ballot, ...] = ()
    """Lower ones that were accepted on it. (It may be one of those that is decided, when two propose at once.)"""


class RosterNote(NamedTuple):
    roster: RosterValue
    ballot: Ballot
    founding: bool = False
    """This memory began with the mesh: all that this voter ever answered of its registers is here."""


class StandingNote(NamedTuple):
    origin: Ballot
    rosters: tuple[RosterValue, ...]
    sealed: int
    memory: bool
    """Whether the promises below are all that there are."""
    promised: Ballot
    accepted: Ballot
    roster: RosterValue | None
    limit: int = 0
    lasting: int | None = None
    settled: tuple[int, ...] = ()
    """All three as in `Standing`."""
    reset: RosterValue | None = None
    """What the last reset that was promised to wants."""


class BootNote(NamedTuple):
    stamp: int
    first: int = 0
    """Of the first process on this disk; 0 if it did not say so."""


class KnownNote(NamedTuple):
    boot: Boot


class CompleteNote(NamedTuple):
    boot: int
    """The stamp of the process from which on nothing is missing."""
    by_word: bool = False
    """That is the word of an operator, `fresh`, of one of two founders, and M has not passed since it was said."""


REGISTER: RecordKind[RegisterNote] = RecordKind(RegisterNote)
PROMISE: RecordKind[PromiseNote] = RecordKind(PromiseNote)
ROSTER: RecordKind[RosterNote] = RecordKind(RosterNote)
STANDING: RecordKind[StandingNote] = RecordKind(StandingNote)
BOOT: RecordKind[BootNote] = RecordKind(BootNote)
COMPLETE: RecordKind[CompleteNote] = RecordKind(CompleteNote)
KNOWN: RecordKind[KnownNote] = RecordKind(KnownNote)

TABLES: dict[str, RecordKind[Any]] = {
    "register": REGISTER,
    "promise": PROMISE,
    "roster": ROSTER,
    "standing": STANDING,
    "boot": BOOT,
    "complete": COMPLETE,
    "known": KNOWN,
    "keyring": KEYRING,
    REPLICAS: REPLICA,
}


def check_tables(tables: Tables) -> None:
    """Read everything once, before a node rests on it.

    Raises
    ------
    NewerRecordError: a newer program wrote it. DamagedRecordError: no program did.
    """
    for table, rows in tables.items():
        if table == CELLS:
            continue  # each has its checksum, and the record of the replica says which version wrote them: they are read once
        kind = TABLES.get(table)
        if kind is None and rows:
            raise NewerRecordError(f"a table {table!r}, which this version does not know")
        if kind is not None:
            for data in rows.values():
                kind.read(data)


class VoterMemory:
    """The memory of a node, as its agreed parts use it."""

    __slots__ = ("_memory",)

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def ready(self, mono: int) -> bool:
        """Whether a promise that is given now will be durable soon."""
        return self._memory.ready(mono)

    def trouble(self, mono: int) -> str:
        """Why it is not ready, for whoever explains that this node does not vote."""
        if self._memory.ready(mono):
            return ""
        error = self._memory.error
        return f"its disk fails ({error})" if error else "its disk stands still"

    # --- registers ---------------------------------------------------------------------------------------------------

    def keep(self, key: str, register: Register, out: list[Directive]) -> None:
        """Write a register down; what is answered behind this rests on it."""
        leases = register.leases
        note = RegisterNote(
            register.promised,
            register.accepted,
            register.value,
            tuple([leases[each.lease].binds if each.lease in leases else each.binds for each in register.value.holdings]),
            register.highest,
            tuple(register.ended),
            register.since,
        )
        out.append(Persist((("register", key.encode(), REGISTER.write(note)),)))

    def rest(self, out: list[Directive]) -> None:
        """What is answered behind this rests on what has been written down already."""
        out.append(Persist())

    def forget(self, key: str, out: list[Directive]) -> None:
        out.append(Persist((("register", key.encode(), None),)))

    def registers(self, mono: int) -> Iterator[tuple[str, Register]]:
        """What was kept, as it counts from now on."""
        for key, data in self._memory.table("register").items():
            note = REGISTER.read(data)
            register = Register()
            register.promised, register.accepted, register.value = note.promised, note.accepted, note.value
            register.highest = note.highest
            register.ended = dict.fromkeys(note.ended)
            register.touched = mono
            register.since = note.since
            for holding, binds in zip(note.value.holdings, note.binds, strict=True):
                register.leases[holding.lease] = Kept(holding.serial, mono + max(holding.worth, holding.term), binds)
            yield key.decode(), register

    # --- birth -------------------------------------------------------------------------------------------------------

    def promise(self) -> PromiseNote | None:
        return self._one(PROMISE, "promise")

    def keep_promise(self, note: PromiseNote, out: list[Directive]) -> None:
        out.append(Persist((("promise", ONLY, PROMISE.write(note)),)))

    def roster(self) -> RosterNote | None:
        return self._one(ROSTER, "roster")

    def keep_roster(self, note: RosterNote, out: list[Directive]) -> None:
        """The promises that led to it have served their end."""
        out.append(Persist((("roster", ONLY, ROSTER.write(note)), ("promise", ONLY, None))))

    # --- succession ---------------------------------------------------------------------------------------------------

    def standing(self) -> StandingNote | None:
        return self._one(STANDING, "standing")

    def keep_standing(self, note: StandingNote, out: list[Directive]) -> None:
        out.append(Persist((("standing", ONLY, STANDING.write(note)),)))

    # --- the process -------------------------------------------------------------------------------------------------

    def boot(self) -> int:
        """The stamp of the newest earlier process on this disk, 0 if there was none."""
        note = self._one(BOOT, "boot")
        return note.stamp if note is not None else 0

    def first(self) -> int:
        """The stamp of the first process from which on all are known to have been on this disk, 0 if there is none."""
        note = self._one(BOOT, "boot")
        return note.first or note.stamp if note is not None else 0

    def keep_boot(self, stamp: int, out: list[Directive]) -> None:
        out.append(Persist((("boot", ONLY, BOOT.write(BootNote(stamp, self.first() or stamp))),)))

    def known(self) -> dict[str, Boot]:
        """By name."""
        return {name.decode(): KNOWN.read(data).boot for name, data in self._memory.table("known").items()}

    def keep_known(self, name: str, boot: Boot, out: list[Directive]) -> None:
        out.append(Persist((("known", name.encode(), KNOWN.write(KnownNote(boot))),)))

    def complete(self) -> bool:
        """Whether no promise is missing from what was kept."""
        return self._one(COMPLETE, "complete") is not None

    def by_word(self) -> bool:
        """Whether that is said by an operator alone, and by no time that has passed."""
        note = self._one(COMPLETE, "complete")
        return note is not None and note.by_word

    def keep_complete(self, stamp: int, out: list[Directive], *, by_word: bool = False) -> None:
        out.append(Persist((("complete", ONLY, COMPLETE.write(CompleteNote(stamp, by_word))),)))

    def forget_mesh(self, out: list[Directive]) -> None:
        """It has been given up for another one."""
        tables = ("roster", "promise", "standing", "complete")
        out.append(Persist(tuple([(table, ONLY, None) for table in tables])))

    def _one(self, kind: RecordKind[T], table: str) -> T | None:
        data = self._memory.table(table).get(ONLY)
        return None if data is None else kind.read(data)
