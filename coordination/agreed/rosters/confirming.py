"""Confirming: whether the newest roster that this node knows is still the newest one.

- A voter serves registers only within `served` of asking a majority of its roster that has accepted no successor. (An
  evicted one that nobody has told goes on granting for ever.)
- A voter that has accepted no successor *vouches* for its roster, unless it knows of a newer process of its name. (That one
  has accepted a successor, and its roster is vouched for all the same.) What a majority has vouched for, the asker among them,
  was the newest when they were asked; it counts from the q-th newest of those moments, by the boot-time clock. (A machine
  that slept for an hour takes what it heard before for news.)
- In a large roster only its *stewards* ask everyone, and the others ask the stewards: an answer says how long ago, at the
  most, a majority had vouched, and counts from then by the asker's clock. (If it counted from the answer, two that are cut
  off and ask each other would be confirmed for ever.)
- Whoever speaks of an older roster is told the newer ones, and whoever speaks of a newer one is asked for it.
- After a reset there may be others, wrongly given up, who go on with a roster that has nobody of this one: they are sought
  among all members. (They never meet, and two rosters go on for ever.)"""

from __future__ import annotations

import random

from coordination.agreed.rosters.stewards import SHARE, SMALL, stewards
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.succession_messages import EpochAsk, EpochOk
from coordination.agreed.voting.standing import NEVER, Standing
from crdt.clock import Instant
from mesh.directives import Directive, Send
from mesh.membership import Member, State

__all__ = ["REPEAT", "Confirming"]

MS = 1_000_000
REPEAT = 100 * MS
"""An unanswered question is asked again after this long."""
CONFIRMATIONS = 4
"""In the time for which one lasts."""
STRANGERS = 2
"""Of all members, so many are asked each time after a reset."""
OUTSIDERS_ASK = 5_000 * MS
"""Who does not vote asks a voter for news this often."""
SENT_KEPT = 16
PATIENCE = 4
"""Questions to the stewards that may bring nothing before everyone is asked."""


class Vouching:
    """What the other voters have said of the roster that is the newest now."""

    __slots__ = ("_sent", "_serial", "_vouched")

    def __init__(self, serial: int) -> None:
        """Serials go on behind one that no earlier process of this name has come to. (Late answers to it would count.)"""
        self._serial = serial
        self._sent: dict[int, int] = {}
        self._vouched: dict[str, int] = {}

    def clear(self) -> None:
        """Another roster is the newest."""
        self._sent.clear()
        self._vouched.clear()

    def asking(self, boot: int) -> int:
        """The serial of a question that is about to be sent."""
        self._serial += 1
        self._sent[self._serial] = boot
        if len(self._sent) > SENT_KEPT:
            del self._sent[next(iter(self._sent))]
        return self._serial

    def sent(self, answer: EpochOk) -> int:
        """Boot ns at which the question was sent that this answers."""
        return self._sent.get(answer.serial, NEVER)

    def answered(self, answer: EpochOk, majority: int) -> int:
        """Boot ns since when a majority is known to have vouched. The own word counts for any time: it is not sealed now."""
        sent = self._sent.get(answer.serial)
        if sent is not None:
            self._vouched[answer.name] = max(sent, self._vouched.get(answer.name, sent))
        since = sorted(self._vouched.values(), reverse=True)
        return since[majority - 2] if len(since) >= majority - 1 else NEVER


class Confirming:
    """`agenda` brings up "confirm"."""

    small = SMALL
    """Of so many voters each asks all others."""

    def __init__(
        self,
        identity: Identity,
        view: View,
        standing: Standing,
        random: random.Random,
        boots: BootRecord,
        agenda: Agenda[str],
    ) -> None:
        self._identity = identity
        self._view = view
        self._standing = standing
        self._random = random
        self._boots = boots
        self._agenda = agenda
        self._vouching = Vouching(identity.boot.stamp)
        self._patience = PATIENCE

    def clear(self) -> None:
        """Another roster is the newest."""
        self._vouching.clear()
        self._patience = PATIENCE

    def differ(self, epoch: int, name: str, now: Instant, out: list[Directive]) -> None:
        """Someone spoke of another roster than the newest one: whoever is behind is told."""
        if epoch < self._standing.epoch:
            out.append(Send(name, self._standing.chain(now)))
        elif epoch > self._standing.epoch:
            out.append(Send(name, EpochAsk(self._standing.epoch, 0, self._identity.name)))

    def confirm(self, now: Instant, out: list[Directive]) -> None:
        """Ask whether this is still the newest roster: a voter everyone or the stewards, and others some voter."""
        roster = self._standing.elastic
        assert roster is not None
        others = [name for name in roster.voters if name != self._identity.name]
        if not others:
            return
        if not self._standing.votes() or self._standing.sealed >= roster.epoch:
            out.append(Send(self._random.choice(others), EpochAsk(roster.epoch, 0, self._identity.name)))
            self._agenda.at("confirm", now.mono + OUTSIDERS_ASK // 2 + self._random.randrange(OUTSIDERS_ASK // 2), out)
            return
        fresh = now.boot - self._standing.confirmed <= roster.served // 2
        if fresh:
            self._patience = PATIENCE
        few = stewards(self._standing, self._view, self._identity.name, self.small) if self._patience else []
        self._patience -= bool(few)
        ask = EpochAsk(roster.epoch, self._vouching.asking(now.boot), self._identity.name)
        out.extend(Send(name, ask) for name in few or others)
        self._meet(roster, out)
        again = REPEAT if few else REPEAT * (1 + len(others) // SHARE)
        self._agenda.at("confirm", now.mono + (roster.served // CONFIRMATIONS if fresh else again), out)

    def _meet(self, roster: RosterValue, out: list[Directive]) -> None:
        """After a reset there may be others, wrongly given up, who go on with a roster that has nobody of this one."""
        if self._standing.was_reset():
            earlier = [name for older in self._standing.rosters for name in older.voters if self._view.is_alive(name)]
            alive = [name for name in self._view.names_alive() if name not in roster.voters]
            asked = dict.fromkeys((*earlier, *self._random.sample(alive, min(len(alive), STRANGERS))))
            ask = EpochAsk(roster.epoch, 0, self._identity.name)
            out.extend(Send(name, ask) for name in asked if name not in roster.voters)

    def on_member(self, member: Member, out: list[Directive]) -> None:
        """Somebody has come, or is seen again."""
        if self._standing.was_reset() and member.state is State.ALIVE and member.name != self._identity.name:
            out.append(Send(member.name, EpochAsk(self._standing.epoch, 0, self._identity.name)))

    def on_epoch_ask(self, ask: EpochAsk, now: Instant, out: list[Directive]) -> None:
        standing = self._standing
        if ask.epoch != standing.epoch:
            self.differ(ask.epoch, ask.name, now, out)
        elif ask.serial and standing.votes() and standing.sealed < ask.epoch and not self._boots.superseded():
            age = now.boot - standing.confirmed
            large = len(standing.rosters[-1].voters) > self.small
            known = age if large and age < standing.rosters[-1].served else None
            out.append(Send(ask.name, EpochOk(ask.epoch, ask.serial, self._identity.name, known)))

    def on_epoch_ok(self, answer: EpochOk, now: Instant, out: list[Directive]) -> None:
        roster = self._standing.elastic
        if roster is not None and answer.epoch == roster.epoch and answer.name in roster.voters:
            since = self._vouching.answered(answer, roster.majority)
            if answer.age is not None:
                since = max(since, self._vouching.sent(answer) - roster.stretched(answer.age))
            self._standing.confirmed = max(self._standing.confirmed, since)
