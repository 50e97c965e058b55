"""The electorate: who ought to vote. Policy alone: `succession` keeps whatever is proposed here safe.

- A member that would vote (it has a stable name, and was not started with `voter=False`) says so to all voters every 2 s, as
  the process that it is. Whom a voter hears of for so long as nothing else changes, and sees alive, it would admit.
- A voter that is not seen alive for max_ttl is gone; one that says that it is leaving is gone at once.
- What a voter would propose it proposes when it has not changed for 5 s (for one that leaves: at once), and for 2 s more for
  each voter that is alive and ranks before it: so one proposes, and if it cannot, the next.
- Changes are batched: whoever is gone is replaced, the others are admitted, as long as their count is odd; the surplus waits
  (an even count survives no more failures, and costs more answers). For the same reason one that is gone stays if all the
  others would be an even number. Eviction never goes below 3 voters, leaving never below one.
- One change waits until what the last one left behind has been moved. (Voters are evicted one after the other, and a register
  that nobody touches is left with none of them.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from coordination.agreed.rosters.succession import Succession
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.events import RosterDecided
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.succession_messages import Standby
from coordination.agreed.voting.standing import Standing
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Act, Arm, Boot, Directive, Directives, Event, Message, Send, Source

__all__ = ["FEWEST", "Electorate"]

LOOK_EVERY = NANOSECONDS
SAY_EVERY = 2 * NANOSECONDS
LEAVE_EVERY = NANOSECONDS // 4
HEARD_FOR = 5 * NANOSECONDS
STABLE_FOR = 5 * NANOSECONDS
RANK_STEP = 2 * NANOSECONDS
MOVED_WITHIN = 30 * NANOSECONDS
"""The next roster waits for so long until the last one has been emptied of what lasts (see `mover`)."""
FEWEST = 3
"""Eviction leaves so many voters."""
STANDBYS_CAP = 1024


class Candidate:
    """A member that would vote, or a voter that would not any more."""

    __slots__ = ("boot", "heard", "leaving")

    def __init__(self, boot: Boot, heard: int, *, leaving: bool) -> None:
        self.boot = boot
        self.heard = heard
        self.leaving = leaving


class Electorate:
    name = "electorate"
    messages = (Standby,)
    hears = (RosterDecided,)

    def __init__(
        self,
        identity: Identity,
        view: View,
        standing: Standing,
        succession: Succession,
        boots: BootRecord,
        *,
        voter: bool,
    ) -> None:
        self._identity = identity
        self._view = view
        self._standing = standing
        self._succession = succession
        self._boots = boots
        self._voter = voter
        self._leaving = False
        self._candidates: dict[str, Candidate] = {}
        self._silent: dict[str, int] = {}
        """Voters that are not seen alive, and since when."""
        self._wanted: tuple[str, ...] = ()
        self._since = 0
        self._turned = 0
        """When the newest roster was learned of."""
        self._said = 0
        self._counts: Counter[str] = Counter()

    # --- commands ---------------------------------------------------------------------------------------------------------

    def leave(self, now: Instant) -> Directives:
        """This node will not vote any more: `gone` once a roster without it has been decided."""
        self._leaving = True
        self._said = 0
        out: list[Directive] = []
        self._look(now, out)
        return out

    @property
    def gone(self) -> bool:
        """Whether the newest roster, as far as this node knows, does without it, and has taken over what lasts; or cannot, for
        there is no other voter."""
        roster, name = self._standing.roster, self._identity.name
        if roster is None or len(roster.voters) == 1:
            return True
        return name not in roster.voters and all(name not in older.voters for older in self._standing.unsettled())

    # --- part -------------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return self.on_event(RosterDecided(self._standing.roster), now) if self._standing.roster is not None else ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        roster = self._standing.roster
        if roster is None or not roster.elastic:
            return ()
        self._silent = {name: since for name, since in self._silent.items() if name in roster.voters}
        self._wanted = ()
        self._turned = now.mono
        return (Arm("look", now.mono + LOOK_EVERY),)

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        self._look(now, out)
        return out

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        assert isinstance(message, Standby)
        known = self._candidates.get(message.name)
        if known is None and len(self._candidates) >= STANDBYS_CAP:
            self._counts["standbys_full"] += 1
        elif known is None or message.boot >= known.boot:
            self._candidates[message.name] = Candidate(message.boot, now.mono, leaving=message.leaving)
            self._boots.learn((message.name,), (message.boot,))
            if message.leaving:
                return (Arm("look", now.mono + 1),)
        return ()

    def stats(self) -> dict[str, int]:
        return {"standbys": len(self._candidates), **self._counts}

    # --- who ought to vote --------------------------------------------------------------------------------------------------

    def _look(self, now: Instant, out: list[Directive]) -> None:
        roster = self._standing.roster
        if roster is None or not roster.elastic:
            return
        self._say(roster, now, out)
        if self._standing.votes():
            self._judge(roster, now, out)
        every = LEAVE_EVERY if self._leaving and not self.gone else LOOK_EVERY
        out.append(Arm("look", now.mono + every))

    def _say(self, roster: RosterValue, now: Instant, out: list[Directive]) -> None:
        """Tell the voters that this node would vote, or would not any more."""
        own = self._identity
        voting = own.name in roster.voters
        if not (self._leaving if voting else self._voter and not self._leaving):
            return
        if self._said and now.mono - self._said < (LEAVE_EVERY if voting else SAY_EVERY):
            return
        self._said = now.mono
        say = Standby(own.name, own.boot, self._leaving)
        out.extend(Send(name, say) for name in roster.voters if name != own.name)
        if voting:
            self._candidates[own.name] = Candidate(own.boot, now.mono, leaving=True)

    def _judge(self, roster: RosterValue, now: Instant, out: list[Directive]) -> None:
        mono = now.mono
        for name, candidate in list(self._candidates.items()):
            if mono - candidate.heard > HEARD_FOR:
                del self._candidates[name]
        for name in roster.voters:
            if name == self._identity.name or self._view.is_alive(name):
                self._silent.pop(name, None)
            else:
                self._silent.setdefault(name, mono)
        wanted = self._ought(roster, mono)
        if wanted != self._wanted:
            self._wanted, self._since = wanted, mono
        if wanted == roster.voters or (self._standing.unsettled() and mono - self._turned < MOVED_WITHIN):
            return
        alive = [name for name in roster.voters if name == self._identity.name or self._view.is_alive(name)]
        leaving = any(each.leaving and name in roster.voters for name, each in self._candidates.items())
        patience = (0 if leaving else STABLE_FOR) + RANK_STEP * alive.index(self._identity.name)
        if mono - self._since >= patience:
            self._since = mono
            self._counts["proposed"] += 1
            out.append(Act(self._succession, self._succession.propose(wanted, now)))

    def _ought(self, roster: RosterValue, mono: int) -> tuple[str, ...]:
        voters = roster.voters
        leaving = {name for name, each in self._candidates.items() if each.leaving}
        dead = [name for name in voters if mono - self._silent.get(name, mono) >= roster.max_ttl and name not in leaving]
        present = [name for name in voters if name not in dead and name not in leaving]
        joiners = [
            name
            for name, each in sorted(self._candidates.items())
            if name not in voters and not each.leaving and self._view.is_alive(name)
        ]
        chosen = present + joiners
        if len(chosen) % 2 == 0:
            if joiners:
                chosen = present + joiners[:-1]
            elif dead:
                chosen = present + dead[:1]
        spare = [name for name in dead if name not in chosen]
        least = min(FEWEST, len(present) + len(dead))
        chosen += spare[: max(0, least - len(chosen))]
        return tuple(sorted(chosen)) if chosen else voters
