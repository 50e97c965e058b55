"""Two replicas that claim the same and hold something else: narrowing down where, and making them equal.

    A   has found that an equal digest under an equal cut came with an unequal fingerprint (`Diverged`)
    A   Groups(sums of 32 groups)        ->  B
    A   <-  Buckets(group, 32 sums)          B, for each group that differs
    A   Rows(bucket, place and row of each)  ->  B, for each bucket that differs
    A   <-  Mend(cells, wanted, gone)        B: what A lacks or has otherwise; what B would have
    A   Mend(cells)                      ->  B

So the bytes are in proportion to the difference: two questions of 300 bytes, one row of 16 bytes for each cell in the buckets
that differ (a thousandth of the store each), and the cells that differ. Rules, each with what breaks without it:

  - A cell is joined whatever the claims say: they are what is wrong. The higher one stays, as everywhere. (Taken over as they
    are, of two differing replicas one would lose what it acknowledged.)
  - Only under one cut: each message names its own. (Behind a cut stands what the other has forgotten, and it would come back.)
  - Nothing else has to stand still: what is on its way meanwhile shows up as differing, and is joined a little earlier.
  - A replica that knows of its own memory that it changed without a write (`crdt.fingerprint`) *doubts* that bucket: it gives
    away nothing of it, takes the other's cells even where its own are higher, and drops what the other does not have, if both
    claim the same at that moment. (A flipped bit in a stamp would win everywhere.) What was written there since it listed its
    rows is not what it doubts.
  - An alarm is never false (C18), so each is counted, logged and told; once a minute for each other member, however often it
    is found. A repair that lost a message is begun again after `RETRY`, with any member that shows the difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from crdt.cell import Cell, Place, encode_cell
from crdt.clock import Instant
from crdt.fingerprint import BUCKETS, FANOUT, ROW_BYTES, Fingerprint, bucket_of, place_hash, row_of
from mesh.directives import Act, Arm, Directive, Directives, Emit, Event, Message, Persist, Send, Source
from mesh.frozen import frozen
from mesh.replication.events import Corrupted, Diverged
from mesh.replication.messages import AnyCell
from mesh.replication.replication import Replication
from mesh.wire import U64, Bounds, Length, message

__all__ = ["Alarm", "Buckets", "Groups", "Mend", "Mending", "Rows"]

MS = 1_000_000
SECOND = 1_000 * MS
ALARM_INTERVAL = 60 * SECOND
RETRY = 5 * SECOND
GATHERED = 8_192
"""Cells that one step looks at for those of the buckets that differ: about 3 ms."""
AT_ONCE = 64
"""Buckets that one repair goes through; the next one goes on with the rest."""
ROW = 2 * ROW_BYTES
MAX_ROWS = 1 << 16
MEND_BYTES = 64 << 10
MAX_CELLS = 4_096
JOBS = 16
KNOWN_FOR = 30 * SECOND
"""ns for which is remembered what was listed for whom."""
DOUBTED_FOR = 600 * SECOND
GATHER_DELAY = 5 * MS
"""ns within which the buckets of one repair are told."""
FIRST: Place = (-1, "")

Bucket = Annotated[int, Bounds(0, BUCKETS - 1)]
Sums = Annotated[bytes, Length(FANOUT * ROW_BYTES, FANOUT * ROW_BYTES)]


@message(210)
class Groups(Message):
    """The sums of the groups, of somebody who has found that the receiver holds something else."""

    round: U64
    sums: Sums


@message(211)
class Buckets(Message):
    """The sums of the buckets of a group that differs."""

    round: U64
    group: Annotated[int, Bounds(0, FANOUT - 1)]
    sums: Sums


@message(212)
class Rows(Message):
    """What stands in a bucket: the hash of each place, and of its cell."""

    round: U64
    bucket: Bucket
    rows: Annotated[bytes, Length(0, MAX_ROWS * ROW)]
    claims: Annotated[bytes, Length(16, 16)]
    """The digest of what the sender claims at this moment."""
    doubted: bool


@message(213)
class Mend(Message):
    """Cells to be joined whatever is claimed; places of which the sender would have the receiver's; places at which the
    receiver, who doubts what it has, has something and the sender nothing."""

    round: U64
    bucket: Bucket
    cells: Annotated[tuple[AnyCell, ...], Length(0, MAX_CELLS)]
    wanted: Annotated[tuple[U64, ...], Length(0, MAX_ROWS)]
    gone: Annotated[tuple[U64, ...], Length(0, MAX_ROWS)]
    last: bool
    """Of those for this bucket."""


@frozen
class Alarm(Event):
    """This replica and a member claim the same and hold something else, or (without a name) this replica's memory changed
    without a write. It is being repaired."""

    name: str


@dataclass(slots=True)
class Listed:
    """What stood in a bucket when somebody was told, or told of it."""

    at: int
    cells: dict[int, tuple[Place, int]]


@dataclass(slots=True)
class Job:
    """Finding the cells of some buckets, for one other process."""

    session: bytes
    asked: dict[int, Rows | None]
    """By bucket: what the other has there, or None, if it is to be told what is here."""
    after: Place = FIRST
    found: dict[int, list[Place]] = field(default_factory=dict)


class Mending:
    """Parameters
    ----------
    replication: whose store it is.
    """

    name = "mending"
    messages: tuple[type[Message], ...] = (Groups, Buckets, Rows, Mend)
    hears: tuple[type[Event], ...] = (Diverged, Corrupted)

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self._alarmed: dict[str, int] = {}
        self._begun: dict[bytes, int] = {}
        self._jobs: list[Job] = []
        self._listed: dict[tuple[bytes, int], Listed] = {}
        self._doubted: dict[int, int] = {}
        """Since when (mono ns)."""
        self._counts: Counter[str] = Counter()

    # --- part --------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        replication = self._replication
        if source.name is None or not replication.admits(message, source, out):
            return out
        assert isinstance(message, Groups | Buckets | Rows | Mend)
        if message.round != replication.round:
            self._counts["other_cuts"] += 1
            return out
        match message:
            case Groups(_, sums):
                self._compare_groups(sums, source, out)
            case Buckets(_, group, sums):
                self._compare_buckets(group, sums, source, now, out)
            case Rows():
                self._job(source.session, now, out).asked[message.bucket] = message
            case Mend():
                self._mend(message, source, now, out)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        if self._jobs and self._gather(self._jobs[0]):
            self._answer(self._jobs.pop(0), now, out)
        if self._jobs:
            out.append(Arm("gather", now.mono + MS))
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        match event:
            case Diverged(name, session):
                self._alarm(name, now, out)
                prints = self._prints
                if now.mono - self._begun.get(session, -RETRY) >= RETRY and prints is not None:
                    self._begun[session] = now.mono
                    self._begun = {each: at for each, at in self._begun.items() if now.mono - at < RETRY}
                    self._counts["repairs"] += 1
                    out.append(Send(session, Groups(self._replication.round, prints.groups())))
            case Corrupted(buckets):
                self._doubted.update(dict.fromkeys(buckets, now.mono))
                self._counts["corrupted_buckets"] += len(buckets)
                self._alarm("", now, out)
        return out

    def stats(self) -> dict[str, int]:
        return {"divergences": 0, "cells_mended": 0, "doubted_buckets": len(self._doubted), **self._counts}

    # --- the alarm ---------------------------------------------------------------------------------------------------

    def _alarm(self, name: str, now: Instant, out: list[Directive]) -> None:
        last = self._alarmed.get(name)
        if last is None or now.mono - last >= ALARM_INTERVAL:
            self._alarmed = {each: at for each, at in self._alarmed.items() if now.mono - at < ALARM_INTERVAL}
            self._alarmed[name] = now.mono
            self._counts["divergences"] += 1
            out.append(Emit(Alarm(name)))

    # --- where -------------------------------------------------------------------------------------------------------

    @property
    def _prints(self) -> Fingerprint | None:
        prints = self._replication.store.fingerprint
        return prints if prints is not None and prints.known else None

    def _compare_groups(self, sums: bytes, source: Source, out: list[Directive]) -> None:
        prints = self._prints
        if prints is not None:
            for group in _unequal(sums, prints.groups()):
                out.append(Send(source.session, Buckets(self._replication.round, group, prints.buckets(group))))

    def _compare_buckets(self, group: int, sums: bytes, source: Source, now: Instant, out: list[Directive]) -> None:
        prints = self._prints
        if prints is None:
            return
        for place in _unequal(sums, prints.buckets(group)):
            job = self._job(source.session, now, out)
            if len(job.asked) < AT_ONCE:
                job.asked.setdefault(group * FANOUT + place, None)

    def _job(self, session: bytes, now: Instant, out: list[Directive]) -> Job:
        """What is looked for on behalf of another process, from the next step on: what it asks until then is looked for at
        once."""
        for job in self._jobs:
            if job.session == session and job.after == FIRST:
                return job
        job = Job(session, {})
        if len(self._jobs) < JOBS:
            if not self._jobs:
                out.append(Arm("gather", now.mono + GATHER_DELAY))
            self._jobs.append(job)
        else:
            self._counts["repairs_refused"] += 1
        return job

    def _gather(self, job: Job) -> bool:
        """Look at some more cells; whether all have been looked at."""
        limit = GATHERED
        for cell in self._replication.store.walk(job.after):
            bucket = bucket_of(cell.kind, cell.key)
            if bucket in job.asked:
                job.found.setdefault(bucket, []).append(cell[:2])
            limit -= 1
            if not limit:
                job.after = cell[:2]
                return False
        return True

    # --- what --------------------------------------------------------------------------------------------------------

    def _answer(self, job: Job, now: Instant, out: list[Directive]) -> None:
        replication, store = self._replication, self._replication.store
        out.append(Act(replication, replication.flush(now)))
        if not replication.leaves():
            return
        out.append(Persist())  # what is sent rests on what this node has on its own disk
        for bucket, rows in job.asked.items():
            listed = Listed(now.mono, {})
            for place in job.found.get(bucket, ()):
                cell = store.cell(*place)
                if cell is not None and cell.n:
                    listed.cells[place_hash(*place)] = place, row_of(cell)
            self._remember(job.session, bucket, listed, now)
            if rows is None:
                data = b"".join([_word(name) + _word(row) for name, (_, row) in listed.cells.items()])
                claims = store.dots.digest()
                out.append(Send(job.session, Rows(replication.round, bucket, data, claims, self._doubts(bucket, now))))
            else:
                self._compare_rows(job.session, rows, listed, now, out)

    def _compare_rows(self, session: bytes, message: Rows, listed: Listed, now: Instant, out: list[Directive]) -> None:
        store = self._replication.store
        theirs = {_number(message.rows, at): _number(message.rows, at + ROW_BYTES) for at in range(0, len(message.rows), ROW)}
        exact = message.claims == store.dots.digest()
        doubted = self._doubts(message.bucket, now)
        mine = listed.cells
        given = [] if doubted else [place for name, (place, row) in mine.items() if theirs.get(name) != row]
        wanted = [name for name, row in theirs.items() if name not in mine or mine[name][1] != row]
        if message.doubted:
            gone = [name for name in theirs if name not in mine] if exact and not doubted else []
            wanted = [] if not doubted else wanted
        else:
            gone = []
        if doubted and exact and not message.doubted:
            self._drop(listed, [name for name in mine if name not in theirs], now, out)
        self._give(session, message.bucket, given, wanted, gone, out)

    def _give(
        self,
        session: bytes,
        bucket: int,
        places: Sequence[Place],
        wanted: Sequence[int],
        gone: Sequence[int],
        out: list[Directive],
    ) -> None:
        store = self._replication.store
        groups: list[list[bytes]] = [[]]
        room = MEND_BYTES
        for place in places:
            cell = store.cell(*place)
            if cell is None or not cell.n:
                continue
            data = encode_cell(cell)
            if groups[-1] and (room < len(data) or len(groups[-1]) == MAX_CELLS):
                groups.append([])
                room = MEND_BYTES
            groups[-1].append(data)
            room -= len(data)
        self._counts["cells_given"] += sum(map(len, groups))
        for group in groups:
            last = group is groups[-1]
            mend = Mend(self._replication.round, bucket, tuple(group), tuple(wanted), tuple(gone), last)
            out.append(Send(session, mend))
            wanted = gone = ()

    # --- mending -----------------------------------------------------------------------------------------------------

    def _mend(self, message: Mend, source: Source, now: Instant, out: list[Directive]) -> None:
        replication = self._replication
        listed = self._listed.get((source.session, message.bucket))
        doubted = self._doubts(message.bucket, now)
        trusted: set[Place] = set()
        if listed is not None and doubted:
            trusted = {place for place, row in listed.cells.values() if self._stands(place, row)}
            self._drop(listed, message.gone, now, out)
        cells = [cell for cell in message.cells if isinstance(cell, Cell)]
        mended, directives = replication.mend(cells, trusted, now)
        out.append(Act(replication, directives))
        self._counts["cells_mended"] += mended
        if listed is not None and message.wanted and not doubted:
            places = [listed.cells[name][0] for name in message.wanted if name in listed.cells]
            if replication.leaves():
                out.append(Persist())
                self._give(source.session, message.bucket, places, (), (), out)
        elif doubted and message.last and not message.wanted:
            self._doubted.pop(message.bucket, None)

    def _drop(self, listed: Listed, names: Sequence[int], now: Instant, out: list[Directive]) -> None:
        """What is here and was never written anywhere."""
        known = [listed.cells[name] for name in names if name in listed.cells]
        gone = [place for place, row in known if self._stands(place, row)]
        self._counts["cells_mended"] += len(gone)
        out.append(Act(self._replication, self._replication.drop(gone, now)))

    def _stands(self, place: Place, row: int) -> bool:
        """Whether a cell is what it was when it was listed."""
        cell = self._replication.store.cell(*place)
        return cell is not None and bool(cell.n) and row_of(cell) == row

    def _doubts(self, bucket: int, now: Instant) -> bool:
        since = self._doubted.get(bucket)
        if since is not None and now.mono - since > DOUBTED_FOR:
            del self._doubted[bucket]  # whatever was wrong there has been written over
            return False
        return since is not None

    def _remember(self, session: bytes, bucket: int, listed: Listed, now: Instant) -> None:
        known = self._listed
        self._listed = {key: each for key, each in known.items() if now.mono - each.at < KNOWN_FOR}
        self._listed[session, bucket] = listed


def _unequal(sums: bytes, others: bytes) -> list[int]:
    return [
        at // ROW_BYTES for at in range(0, len(sums), ROW_BYTES) if sums[at : at + ROW_BYTES] != others[at : at + ROW_BYTES]
    ]


def _word(number: int) -> bytes:
    return number.to_bytes(ROW_BYTES, "little")


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + ROW_BYTES], "little")
