"""Cuts: what everyone has, agreed, so that something may be forgotten.

A cut is the outcome of one numbered round. Every member that the round *counts* reports what it claims, its own last number
and its clock, all at one moment and with its window flushed. Out of the reports, and of the cut before, the next cut is
computed (`make_cut`); which reports count is decided by whoever holds the register (see docs/cuts.md). The rules, each with
what breaks without it:

  - Counted are those of the cut before and the joiners that a report names, but for the ended. Nobody is left out in silence.
    (A member that is left out keeps what the others forget, and brings it back.)
  - `least` is what all of them claim, `written` what each of them had written: of the ended and uncounted the highest number
    that a report claims. A deletion that `least` of cut r covers is forgotten at the first later cut whose `least` covers
    `written` of r: then everything that was written in ignorance of it has lost to it everywhere. (Forgotten at r itself, a
    write that is under way finds nothing that beats it.)
  - An actor of `written` of whom no report claims anything any more is not waited for: it has retired, or was never counted,
    and all who had something of it died. Who holds that still brings it back. (Else nothing is forgotten any more.)
  - Numbers of an ended actor below its highest that no report claims are *void*: they are lost, and everyone skips them.
    (Otherwise one lost write of a dead process keeps its entry in every vector, and every later cut from forgetting.) What
    everyone has in full of an ended actor is *retired*: it leaves the vectors for a bounded table.
  - What a member brings back (see `crdt.returning`) is told to the table, once everyone has it. (Two members that were cut off
    together bring the same write back: one now, the other after it was deleted and the deletion forgotten.)
  - Everything accumulates in the record, so that the newest one suffices to whoever skipped some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from crdt.clock import Stamp
from crdt.dots import DotSet, Summary

__all__ = [
    "NO_CUT",
    "RETIRED_KEPT",
    "Brought",
    "Cut",
    "End",
    "Opening",
    "Report",
    "Retired",
    "Vector",
    "Waiting",
    "is_told",
    "make_cut",
    "may_go_on",
    "required",
]

RETIRED_KEPT = 512
"""Actors in the table; 512 of them are about 12 KB."""

GRACE = 2
"""Cuts within which a process that restarted with its memory brings back what it had added."""

Vector = tuple[tuple[bytes, int], ...]
"""Numbers by actor, in the order of actors."""


class End(NamedTuple):
    """An actor that is taken nothing from any more."""

    actor: bytes
    lost: bool
    """Ended by a cut, since it was not heard of, and not by its own leave or a newer boot: what it added to counters may come
    back with it, so its slots stay apart for a while."""


class Opening(NamedTuple):
    """A round that has been opened. Who reports to it has applied its ends."""

    round: int
    attempt: int
    """A round is opened anew when its ends grow: reports to an earlier attempt may rest on what the ended sent since."""
    ends: tuple[End, ...]
    """All that are not retired, by actor; they only grow."""
    members: tuple[bytes, ...]
    """Who is counted besides, if nobody is left whom the cut before counts: by a first cut, or after all of those died."""


class Brought(NamedTuple):
    """A returning member has put again whatever its old store had of an actor, up to a number, but for these below it."""

    actor: bytes
    last: int
    without: tuple[int, ...]


class Report(NamedTuple):
    """What one member states, at one moment."""

    actor: bytes
    claims: Summary
    n: int
    """The last number that it has written under."""
    stamp: Stamp
    """Its clock."""
    joiners: tuple[bytes, ...] = ()
    """Whom it has welcomed, and no cut has counted yet: they are to report themselves."""
    brought: tuple[Brought, ...] = ()
    """What it has brought back, until the table says so."""


class Retired(NamedTuple):
    """An actor of whom everyone has everything."""

    actor: bytes
    last: int
    """Of what the mesh has seen, also of what was brought back since."""
    void: tuple[int, ...]
    """Below it, and not seen."""
    round: int
    """The cut that retired it."""
    stamp: Stamp
    """Of that cut."""
    lost: bool
    closed: int = 0
    """The cut from which on nobody brings back a slot of it; 0: none yet."""
    folded: int = 0
    """The cut that folded its slots: everyone has whatever was brought back before they were closed. 0: none yet."""


class Waiting(NamedTuple):
    """A cut whose `written` not everyone has."""

    round: int
    stamp: Stamp
    before: Stamp
    """Of the cut that waited when this one was made: everything written before it is in `least`."""
    least: Vector
    written: Vector
    brought: tuple[tuple[bytes, int, bytes, int, tuple[int, ...]], ...] = ()
    """Who reported it, its last number then, and what: a `Brought`."""


class Cut(NamedTuple):
    round: int
    stamp: Stamp
    """The least of the clocks that were reported."""
    counted: tuple[bytes, ...]
    least: Vector
    written: Vector
    ended: tuple[End, ...]
    """Those that are not retired."""
    void: tuple[tuple[bytes, tuple[int, ...]], ...]
    """Of the ended."""
    waiting: Waiting
    purge: Waiting
    """What its `least` covers may be forgotten."""
    retired: tuple[Retired, ...]
    """In the order in which they retired."""
    forgotten: int
    """The highest cut whose retired are not all in the table any more."""

    def counts(self, actor: bytes) -> bool:
        return actor in self.counted


NOT_WAITING = Waiting(0, 0, 0, (), ())
NO_CUT = Cut(0, 0, (), (), (), (), (), NOT_WAITING, NOT_WAITING, (), 0)
"""What holds before the first one."""


def required(previous: Cut, opening: Opening, reports: Iterable[Report]) -> list[bytes]:
    """Who has to report, as far as these reports tell."""
    gone = {end.actor for end in opening.ends} | {each.actor for each in previous.retired}
    counted = {*previous.counted, *opening.members}
    for report in reports:
        counted.update(report.joiners)
    return sorted(counted - gone)


def make_cut(previous: Cut, opening: Opening, reports: Mapping[bytes, Report], forget_after: int = 0) -> Cut | None:
    """The cut of a round; None while somebody who has to report has not.

    Parameters
    ----------
    reports: to this very attempt, by actor.
    forget_after: stamps for which the slots of those ended by a cut stay apart.
    """
    counted = required(previous, opening, [reports[actor] for actor in sorted(reports)])
    if not counted or any(actor not in reports for actor in counted):
        return None
    told = [reports[actor] for actor in counted]
    claims = [DotSet(report.claims) for report in told]
    retired_before = {each.actor for each in previous.retired}
    actors = {actor for report in told for actor, _ in (*report.claims.vector, *report.claims.extras)}
    actors = (actors | {*counted} | {end.actor for end in opening.ends}) - retired_before
    stamp = max(previous.stamp, min(report.stamp for report in told))
    ends = {end.actor: end for end in opening.ends}
    known_void = dict(previous.void)

    least: dict[bytes, int] = {}
    written: dict[bytes, int] = {}
    void: dict[bytes, tuple[int, ...]] = {}
    retired: list[Retired] = []
    for actor in sorted(actors):
        holds = [each.last(actor) for each in claims]
        if actor not in ends:
            least[actor] = min(holds)
            if actor in reports and actor in counted:
                written[actor] = reports[actor].n
            else:
                written[actor] = _highest(actor, claims)
            continue
        gone = known_void.get(actor, ())
        highest = _highest(actor, claims)
        gone += tuple([n for n in range(max(holds) + 1, highest) if not any(each.covers(actor, n) for each in claims)])
        for each in claims:  # as everyone will who applies this cut
            for n in gone:
                each.claim(actor, n)
        last = highest
        while last and last in gone:  # a void number at the end is as good as none
            last -= 1
        least[actor] = min([each.last(actor) for each in claims])
        written[actor] = last
        if least[actor] >= last:
            retired.append(Retired(actor, last, tuple([n for n in gone if n < last]), opening.round, stamp, ends[actor].lost))
        elif gone:
            void[actor] = gone

    now_retired = {each.actor for each in retired}
    rows = _vector(least), _vector(written)
    brought = tuple([(report.actor, report.n, *each) for report in told for each in report.brought])
    told_now: tuple[tuple[bytes, int, bytes, int, tuple[int, ...]], ...] = ()
    waiting, purge = previous.waiting, previous.purge
    if not waiting.round:
        waiting = Waiting(opening.round, stamp, 0, *rows, brought)
    elif all(least.get(actor, 0) >= n or actor not in actors or actor in now_retired for actor, n in waiting.written):
        told_now = waiting.brought
        purge = Waiting(waiting.round, waiting.stamp, waiting.before, waiting.least, ())
        waiting = Waiting(opening.round, stamp, waiting.stamp, *rows, brought)

    table = [_aged(each, opening.round, stamp, purge.round, forget_after) for each in previous.retired] + retired
    last_of = least | {each.actor: each.last for each in table}
    for reporter, n, *what in told_now:
        news = Brought(*what)  # type: ignore[arg-type]
        if last_of.get(reporter, 0) >= n:  # else it died, and what it had put again with it
            table = [_told(row, news) if row.actor == news.actor else row for row in table]
    forgotten = previous.forgotten
    while len(table) > RETIRED_KEPT and table[0].folded and table[0].round <= purge.round:
        # What waits to be forgotten by `purge` must not outlive the names that it needs.
        forgotten = max(forgotten, table.pop(0).round)
    return Cut(
        opening.round,
        stamp,
        tuple(counted),
        *rows,
        tuple([end for end in opening.ends if end.actor not in now_retired and end.actor not in retired_before]),
        tuple(sorted(void.items())),
        waiting,
        purge,
        tuple(table),
        forgotten,
    )


def _aged(each: Retired, round: int, stamp: Stamp, purged: int, forget_after: int) -> Retired:
    """Close an actor's slots, later fold them.

    Members report to a round after they have applied the cut before it. So what they brought back of slots that cut c closed
    is in the `written` of c + 1, and everyone has it once that cut is the one whose deletions are forgotten."""
    if each.closed:
        return each._replace(folded=round) if not each.folded and purged > each.closed else each
    due = stamp >= each.stamp + forget_after if each.lost else round >= each.round + GRACE
    return each._replace(closed=round) if due else each


def may_go_on(cut: Cut, actor: bytes, first: int, sponsor: bytes) -> bool:
    """Whether a member that this cut does not count may apply it all the same; else it starts anew, with an empty store.

    A joiner whom its sponsor welcomed after it had reported is counted by the next cut only (`first`). But what it has is its
    sponsor's: a cut that does not count that one either (it died, and was ended) takes for void, or for retired in full, what
    the joiner alone has from it. (Found by the model: a joiner brought writes back that everyone had skipped.)"""
    if cut.counts(actor):
        return True
    ended = any(end.actor == actor for end in cut.ended) or any(each.actor == actor for each in cut.retired)
    return not ended and cut.round < first and cut.counts(sponsor)


def is_told(cut: Cut, brought: Brought) -> bool:
    """Whether the table says it, or does not know the actor any more."""
    row = next((each for each in cut.retired if each.actor == brought.actor), None)
    return row is None or _told(row, brought) == row


def _told(row: Retired, brought: Brought) -> Retired:
    void = [n for n in row.void if n > brought.last or n in brought.without]
    void += [n for n in brought.without if n > row.last]
    return row._replace(last=max(row.last, brought.last), void=tuple(sorted(set(void))))


def _highest(actor: bytes, claims: Iterable[DotSet]) -> int:
    return max([max(each.last(actor), *each.extras(actor), 0) for each in claims])


def _vector(numbers: Mapping[bytes, int]) -> Vector:
    return tuple(sorted([(actor, n) for actor, n in numbers.items() if n]))
