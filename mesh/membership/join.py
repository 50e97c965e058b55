"""How nodes find each other, at first and ever again: dial, exchange tables, dial again.

One conversation (see `mesh.membership.messages`) serves three occasions: a newcomer joins through its seeds; members
exchange their tables with a random one now and then; and dead members, missing seeds and long lost addresses are
dialled for ever, at a bounded rate, which is what heals a partition of any length. Rules:
  - a newcomer waits a moment for the welcomes of all the seeds that it reached, and outbids the highest boot of its
    name that any of them knows, once; after that its boot is final;
  - a newcomer is given a name that another process holds only if that one does not answer any more, or lived at this
    very address, which the newcomer has taken over;
  - who has been admitted is never checked again: the order of boots decides between two holders of one name;
  - of two newcomers of one name that meet, the elder keeps it;
  - nobody is told of a newcomer before it is admitted;
  - seeds are handed to the driver as they were given, so names are resolved anew at every attempt;
  - those that left are not dialled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, TypeVar

from mesh.directives import Address, Boot, ChannelUp, Close, Dial, Instant, Source, Stop, Write
from mesh.errors import AddressRefusedError, NameTakenError
from mesh.membership.actions import Actions
from mesh.membership.checks import ATTEMPTS, Check, Checks, Newcomer
from mesh.membership.events import JoinFailed
from mesh.membership.identity import MAX_STAMP, Identity, is_reachable
from mesh.membership.lost import Lost
from mesh.membership.member import State
from mesh.membership.messages import TABLE_ENTRIES, Entry, Join, Refuse, Table, Welcome, WireBoot, entry_of
from mesh.membership.probe import DIAL
from mesh.membership.profile import MS, SECOND, Profile
from mesh.membership.table import MAX_MEMBERS
from mesh.membership.table import Table as Members

__all__ = ["GRACE", "MAX_TALKS", "TALK", "Host", "Joiner"]

GRACE = 250 * MS
"""For the other seeds' welcomes, after the first."""

TALK = 5 * SECOND
"""A conversation ends after so long, whatever it waits for; with long probe timeouts, after one more than a check takes."""

MAX_TALKS = 256
"""Conversations at once; a dialler beyond it is hung up on and comes again."""

NEIGHBOURS = 3
"""Members that one not yet admitted dials beside its seeds."""

UNDER_WAY, WELCOMED = "", "welcomed"

T = TypeVar("T")


class Host(Protocol):
    """What the conversation needs of membership."""

    @property
    def admitted(self) -> bool: ...

    def merge(self, entries: Iterable[Entry], source: Source, now: Instant) -> None: ...
    def admit(self, known: Boot | None, sponsor: str | None, now: Instant) -> None: ...
    def next_sequence(self) -> int: ...


@dataclass(slots=True)
class Talk:
    """One conversation, on one channel."""

    channel: int
    dialled: Address | None
    """The address as it was dialled; None on the accepting side."""
    welcome: Welcome | None = None
    source: Source | None = None
    entries: list[Entry] = field(default_factory=list)
    heard: int = 0
    """Entries so far; a table is never longer than the largest that this node would hold."""
    done: bool = False


class Joiner:
    __slots__ = (
        "_actions",
        "_attempt",
        "_checks",
        "_dialling",
        "_exchange_wait",
        "_host",
        "_identity",
        "_itself",
        "_lost",
        "_members",
        "_patience",
        "_profile",
        "_random",
        "_seeds",
        "_sponsors",
        "_talks",
        "_wait",
    )

    def __init__(
        self,
        identity: Identity,
        seeds: Sequence[Address],
        members: Members,
        checks: Checks,
        lost: Lost,
        host: Host,
        profile: Profile,
        random: Random,
        actions: Actions,
    ) -> None:
        self._identity = identity
        self._seeds = tuple(dict.fromkeys(seeds))
        self._members = members
        self._checks = checks
        self._host = host
        self._profile = profile
        self._random = random
        self._actions = actions
        self._attempt: dict[Address, str] = {}
        self._dialling: dict[Address, None] = {}
        self._itself: dict[Address, None] = {}
        self._sponsors: dict[Address, str] = {}
        self._talks: dict[int, Talk] = {}
        self._lost = lost
        self._wait = profile.redial_first
        self._patience = max(TALK, (ATTEMPTS + 1) * profile.probe_timeout)
        self._exchange_wait = profile.probe_interval

    # --- when to dial whom -----------------------------------------------------------------------------------------

    def start(self, now: Instant) -> None:
        if not self._seeds:
            self._host.admit(None, None, now)
        self.on_redial(now)

    def on_redial(self, now: Instant) -> None:
        """Try again whatever is missing; and see to it that there is a next time."""
        others = self._members.others()
        if not self._host.admitted:
            near = self._random.sample(others, min(NEIGHBOURS, len(others)))
            self._begin_attempt([*self._seeds, *(member.address for member in near)])
        elif not others:
            for address in [*self._missing_seeds(), *self._sample(self._gone(), 1)]:
                self._dial(address)
        else:
            for address in self._sample([*self._missing_seeds(), *self._gone()], 1):
                self._dial(address)
        if others and self._host.admitted:
            self._wait = self._profile.redial_first
            wait = self._profile.redial_after(len(others))
        else:
            wait = self._wait
            self._wait = min(self._profile.redial_last, self._wait * 3 // 2)
        self._actions.arm(("redial",), now.mono + int(wait * self._random.uniform(0.75, 1.25)))

    def hurry(self, now: Instant) -> None:
        """Someone is there: a node that still is to be admitted need not wait for its next attempt."""
        if not self._host.admitted and not any(word == UNDER_WAY for word in self._attempt.values()):
            self._actions.arm(("redial",), now.mono)

    def exchange(self, now: Instant) -> None:
        """Exchange tables with a random member, and plan the next time."""
        for member in self._sample(self._members.others(), 1):
            self._dial(member.address)
        self.plan_exchange(now)

    def plan_exchange(self, now: Instant) -> None:
        """Soon after the start, then ever less often: who joins while many do misses news that has just passed."""
        wait = min(self._exchange_wait, self._profile.exchange_after(self._members.standing))
        self._exchange_wait = min(2 * self._exchange_wait, 1 << 62)
        self._actions.arm(("exchange",), now.mono + int(wait * self._random.uniform(0.75, 1.25)))

    def acquaint(self, address: Address) -> None:
        """Exchange tables with a process that knows this one, but is not known here."""
        if is_reachable(address):
            self._dial(address)

    def _missing_seeds(self) -> list[Address]:
        return [seed for seed in self._seeds if not self._is_own(seed) and not self._answers(seed)]

    def _answers(self, seed: Address) -> bool:
        sponsor = self._members.get(self._sponsors.get(seed, ""))
        if sponsor is not None and sponsor.reachable:
            return True
        return any(member.reachable for member in self._members.at(seed))

    def _gone(self) -> list[Address]:
        """Where members died, once each."""
        dead = [member.address for member in self._members.all() if member.state is State.DEAD]
        living = dict.fromkeys(member.address for member in self._members.others())
        return [address for address in dict.fromkeys([*dead, *self._lost.addresses()]) if address not in living]

    def _is_own(self, address: Address) -> bool:
        return address == self._identity.address or address in self._itself

    def _sample(self, of: Sequence[T], count: int) -> list[T]:
        return self._random.sample(of, min(count, len(of)))

    def _begin_attempt(self, addresses: Sequence[Address]) -> None:
        if UNDER_WAY in self._attempt.values():
            self._report()
        self._attempt = {}
        for address in addresses:
            if self._is_own(address):
                self._attempt[address] = "itself"
            else:
                self._attempt[address] = UNDER_WAY
                self._dial(address)
        self._attempt_over()

    def _dial(self, address: Address) -> None:
        if address not in self._dialling and not self._is_own(address):
            self._dialling[address] = None
            self._actions.add(Dial(address, (DIAL, "join", address)))

    def _failed(self, address: Address, reason: str) -> None:
        if self._attempt.get(address) == UNDER_WAY:
            self._attempt[address] = reason
            self._attempt_over()

    def _attempt_over(self) -> None:
        """If nothing is under way any more and nobody has welcomed this node, say why."""
        words = self._attempt.values()
        if not self._host.admitted and UNDER_WAY not in words and WELCOMED not in words:
            self._report()

    def _report(self) -> None:
        reasons = tuple((address, word if word != UNDER_WAY else "silent") for address, word in self._attempt.items())
        self._actions.emit(JoinFailed(reasons))

    # --- the dialler's side ----------------------------------------------------------------------------------------

    def on_up(self, address: Address, up: ChannelUp, now: Instant) -> None:
        if not self._open(Talk(up.channel, address), now):
            self._dialling.pop(address, None)
            self._failed(address, "busy")
            return
        admitted = self._host.admitted
        digest = self._members.digest() if admitted else b""
        self._actions.add(Write(up.channel, Join(entry_of(self._members.own()), admitted, digest)))

    def on_down(self, address: Address, reason: str) -> None:
        """A dialled stream did not come up."""
        self._dialling.pop(address, None)
        if reason == "itself" and address in self._seeds and is_reachable(address):  # a host name may lead elsewhere next time
            self._itself[address] = None
        self._failed(address, reason)

    def on_welcome(self, welcome: Welcome, source: Source, now: Instant) -> None:
        talk = self._talk(source)
        if talk is None or talk.dialled is None or talk.welcome is not None:
            self._actions.count("unexpected")
            return
        talk.welcome, talk.source = welcome, source
        if talk.dialled in self._seeds:
            self._sponsors[talk.dialled] = welcome.sponsor
        if self._host.admitted:
            self._finish(talk, now)
            return
        self._attempt[talk.dialled] = WELCOMED
        if UNDER_WAY in self._attempt.values():
            if ("admit",) not in self._actions.due:
                self._actions.arm(("admit",), now.mono + GRACE)
        else:
            self.on_admit(now)

    def on_admit(self, now: Instant) -> None:
        """Take the name: above every boot that any of the sponsors knows."""
        self._actions.disarm(("admit",))
        welcomed = [talk for talk in self._talks.values() if talk.welcome is not None and not talk.done]
        if not welcomed or self._host.admitted:
            return
        welcomes = [talk.welcome for talk in welcomed if talk.welcome is not None]
        boots = [welcome.known for welcome in welcomes if welcome.known is not None]
        known = [Boot(boot.stamp, boot.session) for boot in boots if boot.stamp < MAX_STAMP]
        self._host.admit(max(known, default=None), welcomes[0].sponsor, now)
        self._attempt = {}
        for talk in welcomed:
            self._finish(talk, now)

    def _finish(self, talk: Talk, now: Instant) -> None:
        """Merge what the sponsor knows, then tell it what this node knows, itself included."""
        assert talk.source is not None
        self._host.merge(talk.entries, talk.source, now)
        if talk.welcome is None or not talk.welcome.same:
            self._write_table(talk.channel)
        self._end(talk, close=True)

    def on_refuse(self, refuse: Refuse, source: Source, now: Instant) -> None:
        talk = self._talk(source)
        if talk is None or talk.dialled is None or talk.welcome is not None:
            self._actions.count("unexpected")
            return
        address = talk.dialled
        self._end(talk, close=True)
        if self._host.admitted:
            self._actions.count("refused_after_admission")
        elif refuse.reason == Refuse.NAME_TAKEN:
            self._actions.add(Stop(NameTakenError(self._identity.name, refuse.detail)))
        elif refuse.reason == Refuse.BAD_ADDRESS:
            self._actions.add(Stop(AddressRefusedError(self._identity.address, refuse.detail)))
        else:
            self._failed(address, "full" if refuse.reason == Refuse.FULL else "refused by the sponsor")

    # --- the answerer's side ---------------------------------------------------------------------------------------

    def on_join(self, join: Join, source: Source, now: Instant) -> None:
        if source.channel is None or source.channel in self._talks or join.subject.boot.session != source.session:
            self._actions.count("unexpected")
            return
        talk = Talk(source.channel, None, source=source)
        if not self._open(talk, now):
            return
        subject = join.subject.member()
        if subject is None:
            self._refuse(talk, Refuse.BAD_ADDRESS, "it is no host and port that others could dial, or its name or tags are bad")
            return
        holder = self._members.get(subject.name)
        if holder is None and self._members.full and self._members.room() is None:
            self._refuse(talk, Refuse.FULL, f"{MAX_MEMBERS} members")
        elif join.admitted or holder is None or holder.boot.session == source.session:
            self._welcome(talk, join.subject, join.digest)
        elif subject.name == self._identity.name:
            if self._host.admitted or self._identity.boot < subject.boot:
                self._refuse(talk, Refuse.NAME_TAKEN, self._identity.address)
            else:
                self._end(talk, close=True)  # two newcomers of one name: the elder keeps it, and will say so itself
        elif holder.address == subject.address or holder.state is State.LEFT:
            self._welcome(talk, join.subject)
        elif not self._checks.begin(
            self._host.next_sequence(),
            holder.boot.session,
            holder.address,
            Newcomer(source.channel, source.session, join.subject),
            True,
            now.mono,
        ):
            self._end(talk, close=True)

    def on_checked(self, check: Check, lives: bool) -> None:
        """The other holder of a newcomer's name has answered, or has not."""
        assert isinstance(check.reason, Newcomer)
        talk = self._talks.get(check.reason.channel)
        if talk is None or talk.done:
            return
        if lives:
            self._refuse(talk, Refuse.NAME_TAKEN, check.address)
        else:
            self._welcome(talk, check.reason.subject)

    def _welcome(self, talk: Talk, subject: Entry, digest: bytes = b"") -> None:
        known = self._members.highest_boot(subject.name, but=subject.boot.session)
        same = self._host.admitted and digest == self._members.digest()
        if same:
            self._actions.count("equal_tables")
        else:
            self._write_table(talk.channel)
        boot = None if known is None else WireBoot(known.stamp, known.session)
        self._actions.add(Write(talk.channel, Welcome(self._identity.name, boot, same)))

    def _refuse(self, talk: Talk, reason: int, detail: str) -> None:
        self._actions.add(Write(talk.channel, Refuse(reason, detail)))
        self._end(talk, close=True)

    # --- both sides ------------------------------------------------------------------------------------------------

    def on_table(self, table: Table, source: Source, now: Instant) -> None:
        talk = self._talk(source)
        if talk is None or talk.heard + len(table.entries) > MAX_MEMBERS:
            self._actions.count("unexpected")
            return
        talk.heard += len(table.entries)
        if talk.dialled is None:
            self._host.merge(table.entries, source, now)
            self.hurry(now)
        elif talk.welcome is None:
            talk.entries.extend(table.entries)

    def on_channel_down(self, channel: int, reason: str) -> bool:
        """Whether the channel was one of these conversations."""
        talk = self._talks.pop(channel, None)
        if talk is None:
            return False
        self._actions.disarm(("talk", channel))
        self._checks.on_gone(channel)
        if talk.dialled is not None and not talk.done:
            self._dialling.pop(talk.dialled, None)
            self._failed(talk.dialled, "unwelcomed" if reason in ("closed", "idle") else reason)
        return True

    def on_talk_over(self, channel: int) -> None:
        talk = self._talks[channel]
        self._end(talk, close=True)
        if talk.dialled is not None:
            self._failed(talk.dialled, "unwelcomed")

    def _open(self, talk: Talk, now: Instant) -> bool:
        if len(self._talks) >= MAX_TALKS:
            self._actions.count("talks_dropped")
            self._actions.add(Close(talk.channel))
            return False
        self._talks[talk.channel] = talk
        self._actions.arm(("talk", talk.channel), now.mono + self._patience)
        return True

    def _talk(self, source: Source) -> Talk | None:
        talk = None if source.channel is None else self._talks.get(source.channel)
        return None if talk is None or talk.done else talk

    def _end(self, talk: Talk, close: bool) -> None:
        """Kept until the channel is down, so that its end is not taken for evidence."""
        talk.done = True
        talk.entries.clear()
        self._actions.disarm(("talk", talk.channel))
        if talk.dialled is not None:
            self._dialling.pop(talk.dialled, None)
        if close:
            self._actions.add(Close(talk.channel))

    def _write_table(self, channel: int) -> None:
        """Everyone known; this node itself only when it is admitted, for another may hold its name."""
        untold = None if self._host.admitted else self._identity.name
        entries = [entry_of(member) for member in self._members.all() if member.name != untold]
        for first in range(0, len(entries), TABLE_ENTRIES):
            self._actions.add(Write(channel, Table(tuple(entries[first : first + TABLE_ENTRIES]))))
