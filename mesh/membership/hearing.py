"""What a piece of news may do.

About others. The subject's own frame is believed. A third party's rumour with a boot or an incarnation out of range is
checked with the subject first. When partitions heal, each half is told of the deaths of the other's making, its own members':
  - a death read in a table is taken for a suspicion;
  - a death by rumour is believed at once only of a member that has been suspect here for half of the shortest window, as one
    is that died in silence. Of any other the process itself is asked, told what is said of it, and believed if it answers.

About this process. Its incarnation rises only above what others could take for later than its own word, and once a round; who
still tells what has been refuted is told better, directly. An incarnation that it never had is a lie, but must be outbid where
others may believe it; beyond `OUTBID` nobody does.

About its name. Only the highest boot of a name is a member. A process that meets a higher one stops, and never outbids
it; only before it is admitted may it take note and rise above."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from crdt.clock import HybridClock, Instant, stamp_ms
from mesh.directives import Boot, Source, Stop
from mesh.errors import NameTakenError
from mesh.membership.actions import Actions
from mesh.membership.checks import Checks, Rumoured
from mesh.membership.events import Joined
from mesh.membership.health import Health
from mesh.membership.identity import Identity
from mesh.membership.member import DEAD, RANK, SUSPECT, Member, State, supersedes
from mesh.membership.messages import Entry, News, entry_of
from mesh.membership.probe import Prober
from mesh.membership.profile import Profile
from mesh.membership.registry import Registry
from mesh.membership.table import Table

__all__ = ["INCARNATION_LEAP", "OUTBID", "Hearing"]

INCARNATION_LEAP = 1_024
"""A third party's incarnation so far above the known one is checked with the subject."""

OUTBID = INCARNATION_LEAP << 10
"""The subject outbids what is said of it up to here: a thousand lies in a row that others may have believed."""


class Hearing:
    __slots__ = (
        "_actions",
        "_checks",
        "_clock",
        "_disputed",
        "_health",
        "_identity",
        "_prober",
        "_profile",
        "_refuted",
        "_registry",
        "_table",
        "gone",
    )

    def __init__(
        self,
        identity: Identity,
        table: Table,
        registry: Registry,
        checks: Checks,
        prober: Prober,
        health: Health,
        clock: HybridClock,
        profile: Profile,
        actions: Actions,
    ) -> None:
        self._identity = identity
        self._table = table
        self._registry = registry
        self._checks = checks
        self._prober = prober
        self._health = health
        self._clock = clock
        self._profile = profile
        self._actions = actions
        self._refuted: int | None = None
        self._disputed = 0
        self.gone = False
        """It has left or must stop: it hears and says nothing more."""

    @property
    def admitted(self) -> bool:
        return self._identity.admitted

    def on_news(self, news: News, source: Source, now: Instant) -> None:
        self._hear(news.subject, news.accuser, source, now, table=False)

    def merge(self, entries: Iterable[Entry], source: Source, now: Instant) -> None:
        """Another member's table."""
        for entry in entries:
            if self.gone:
                return
            self._hear(entry, None, source, now, table=True)

    # --- about others ----------------------------------------------------------------------------------------------

    def _hear(self, entry: Entry, accuser: str | None, source: Source, now: Instant, table: bool) -> None:
        news = entry.member()
        if news is None:
            self._actions.count("news_invalid")
        elif news is self._table.get(news.name) and news.state is not SUSPECT:
            pass  # nearly all that is told is known already, and read to the same object
        elif news.name == self._identity.name:
            self._hear_of_own_name(news, source, now)
        elif source.session != news.boot.session and not self._plausible(news, now):
            self._check(news, now)
        elif news.state is SUSPECT or (table and news.state is DEAD and self._stands(news)):
            # Who tells on what it has read in a table has observed nothing, nor is an echo of this node's own word an opinion.
            said_by = "" if accuser is None or accuser == self._identity.name or table else accuser
            accused = news if news.state is SUSPECT else replace(news, state=SUSPECT)
            if not self._registry.suspect(accused, said_by, now) and not table:
                self._tell_better(news, source)
        elif news.state is DEAD and self._surprising(news, source, now):
            self._ask(news, now)
        elif not self._registry.apply(news, now) and not table:
            self._tell_better(news, source)

    def _tell_better(self, news: Member, source: Source) -> None:
        """Who still tells what is out of date has missed the news, so it is told, once for each time that it shows. The answer
        is strictly later than what it answers, so two nodes that correct each other end at once.

        Not of a death: it may be one of the other half's, when a partition has just healed."""
        known = self._table.get(news.name)
        if (
            known is not None
            and known.state is not State.DEAD
            and (known.boot, known.incarnation, RANK[known.state]) > (news.boot, news.incarnation, RANK[news.state])
        ):
            self._actions.count("told_better")
            self._actions.send(source.session, News(entry_of(known), None))

    def _surprising(self, news: Member, source: Source, now: Instant) -> bool:
        """Whether a third party says that somebody died of whom nothing was feared here."""
        known = self._table.get(news.name)
        return (
            known is not None
            and self._stands(news)
            and news.incarnation >= known.incarnation
            and source.session != news.boot.session
            and not self._registry.feared(known, now)
        )

    def _ask(self, news: Member, now: Instant) -> None:
        """The one who can refute it, who gets to know what is said, too."""
        known = self._table.get(news.name)
        if known is not None and self._prober.inquire(known, now.mono):
            self._actions.count("deaths_asked_about")
            self._actions.send(news.boot.session, News(entry_of(news), None))

    def _stands(self, news: Member) -> bool:
        """Whether the very process that is said to be dead is alive or suspect here."""
        known = self._table.get(news.name)
        return known is not None and known.reachable and known.boot == news.boot

    def _plausible(self, news: Member, now: Instant) -> bool:
        """Whether a third party may say so: the boot is not of the future, nor the incarnation out of all
        proportion."""
        known = self._table.get(news.name)
        if known is not None and known.boot == news.boot:
            return news.incarnation <= known.incarnation + INCARNATION_LEAP
        return self._plausible_boot(news.boot, now) and news.incarnation <= INCARNATION_LEAP

    def _plausible_boot(self, boot: Boot, now: Instant) -> bool:
        return stamp_ms(boot.stamp) <= self._clock.physical_ms(now) + self._clock.max_drift_ms

    def _check(self, news: Member, now: Instant) -> None:
        """Ask the process itself; what it says is believed, and the rumour is forgotten."""
        self._actions.count("news_doubted")
        known = self._table.by_session(news.boot.session)
        number = self._prober.next_sequence()
        self._checks.begin(number, news.boot.session, news.address, Rumoured(news), known is not None, now.mono)

    # --- about this process ----------------------------------------------------------------------------------------

    def _hear_of_own_name(self, news: Member, source: Source, now: Instant) -> None:
        own = self._table.own()
        if news.boot.session == own.boot.session:
            if news.boot > own.boot or news.incarnation > own.incarnation + OUTBID:
                self._actions.count("news_impossible")
                return
            if supersedes(news, own):
                self._refute(news.incarnation, now)
            own = self._table.own()
            if news.state is not State.ALIVE and supersedes(own, news):
                self._actions.send(source.session, News(entry_of(own), None))
        elif news.boot < own.boot:
            if self.admitted:
                self._actions.send(source.session, News(entry_of(own), None))
        elif source.session != news.boot.session and not self._plausible_boot(news.boot, now):
            self._check(news, now)
        elif self.admitted:
            self._stop(news)
        else:
            self._table.note_boot(news.name, news.boot)

    def _refute(self, incarnation: int, now: Instant) -> None:
        """This process lives, and is as it says itself: say so above what was said, once a round."""
        self._disputed = max(self._disputed, incarnation)
        if ("refute",) in self._actions.due:
            return
        self._health.worsen()
        if self._refuted is not None and now.mono - self._refuted < self._profile.probe_interval:
            self._actions.arm(("refute",), self._refuted + self._profile.probe_interval)
        else:
            self.renew(now)

    def renew(self, now: Instant) -> None:
        """The next incarnation of this process, with its tags of now."""
        self._refuted = now.mono
        self._actions.disarm(("refute",))
        self._actions.count("incarnations")
        self._identity.incarnation = max(self._identity.incarnation, self._disputed) + 1
        self._registry.apply(replace(self._table.own(), incarnation=self._identity.incarnation, tags=self._identity.tags), now)

    def _stop(self, other: Member) -> None:
        self.gone = True
        self._registry.give_way(other)
        for timer in list(self._actions.due):
            self._actions.disarm(timer)
        self._actions.add(Stop(NameTakenError(self._identity.name, other.address)))

    def admit(self, known: Boot | None, sponsor: str | None, now: Instant) -> None:
        """This node has its name: its boot is final, above every other that the name is known to have had."""
        identity = self._identity
        noted = self._table.highest_boot(identity.name, but=identity.boot.session)
        highest = max((boot for boot in (known, noted) if boot is not None), default=None)
        identity.admitted = True
        if highest is not None and highest > identity.boot:
            identity.boot = Boot(max(self._clock.read(now), highest.stamp + 1), identity.boot.session)
            self._registry.apply(replace(self._table.own(), boot=identity.boot), now)
        self._registry.tell(self._table.own(), "", now)
        self._actions.emit(Joined(sponsor))

    def next_sequence(self) -> int:
        return self._prober.next_sequence()
