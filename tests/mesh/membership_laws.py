"""What must hold at every observer after each of its steps (docs/invariants.md, M1, M2, M5, M6, M7, M19).

The laws know nothing of the code that they watch but its public face: they compare what an observer shows, emits and arms with
what the processes of the world themselves are and say. A violation begins with the name of its invariant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mesh.directives import Arm, Boot, Directives, Event
from mesh.membership import Member, MemberChanged, MemberForgotten, Membership, Profile, State, Tags
from mesh.membership.messages import News
from mesh.membership.suspicion import Suspicion

__all__ = ["Laws", "Observer", "rank_of"]

Entry = tuple[Boot, int, int]
"""Boot, incarnation, rank: the order of news, computed here anew."""

Accused = tuple[str, Boot, int]
"""Name, boot and incarnation: one suspicion."""


def rank_of(state: State) -> int:
    return [State.ALIVE, State.SUSPECT, State.DEAD, State.LEFT].index(state)


@dataclass
class Observer:
    """What was seen of one process so far."""

    part: Membership
    mirror: dict[str, Member] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    shown: tuple[Member, ...] = ()
    standing: int = 0
    """How many were alive or suspect before this step."""
    incarnation: int = 0
    tags: Tags = ()
    raised: int | None = None
    suspicions: dict[Accused, Suspicion] = field(default_factory=dict)
    """As they were when first armed."""
    until: dict[Accused, int] = field(default_factory=dict)
    """When each was last armed to end."""
    away: int = 0
    """Pauses of its own that it has noticed."""


class Laws:
    def __init__(self, profile: Callable[[], Profile], incarnation: Callable[[Boot], int | None]) -> None:
        self.violations: list[str] = []
        self.watched = True
        self._profile = profile
        self._incarnation = incarnation
        """What the process with this boot itself has reached."""
        self._accusers: dict[Accused, dict[str, None]] = {}
        """Who has really said so of its own observation."""

    def said(self, speaker: str, news: News) -> None:
        """`speaker` itself told this to somebody."""
        if news.accuser == speaker and (subject := news.subject.member()) is not None:
            self._accusers.setdefault((subject.name, subject.boot, subject.incarnation), {})[speaker] = None

    def emitted(self, name: str, observer: Observer, event: Event) -> None:
        """M7 and the automaton of M19: what happens to a member follows from what it was."""
        if isinstance(event, MemberForgotten):
            if observer.mirror.pop(event.member.name, None) is None:
                self._violated("M19", name, f"{event.member.name} is forgotten, but was not known")
            observer.entries.pop(event.member.name, None)
        if not isinstance(event, MemberChanged):
            return
        member = event.member
        known = observer.mirror.get(member.name)
        if known is None and member.state is not State.ALIVE:
            self._violated("M7", name, f"{member.name} appeared as {member.state}")
        if (known is None) != (event.previous is None):
            self._violated("M19", name, f"an event out of turn about {member.name}")
        observer.mirror[member.name] = member

    def stepped(self, name: str, observer: Observer, directives: Directives, now: int) -> None:
        """After everything that one input caused."""
        if not self.watched:
            return
        members = observer.part.members()
        if members is not observer.shown:
            observer.shown = members
            self._never_down(name, observer, members)
            self._not_above_the_subject(name, members)
        if [shown(member) for member in members] != [shown(member) for _, member in sorted(observer.mirror.items())]:
            self._violated("M19", name, "the mirror differs from the members")
        self._one_refutation_a_round(name, observer, now)
        self._suspicion_only_shortens(name, observer, directives, now)
        observer.standing = len(observer.part.names_alive())

    def _never_down(self, name: str, observer: Observer, members: Iterable[Member]) -> None:
        for member in members:
            entry = (member.boot, member.incarnation, rank_of(member.state))
            known = observer.entries.get(member.name)
            if known is not None and entry < known:
                self._violated("M1", name, f"{member.name} went down from {known[1:]} to {entry[1:]}")
            observer.entries[member.name] = entry

    def _not_above_the_subject(self, name: str, members: Iterable[Member]) -> None:
        for member in members:
            reached = self._incarnation(member.boot)
            if reached is not None and member.incarnation > reached:
                self._violated("M2", name, f"{member.name} is at {member.incarnation}, and itself only at {reached}")

    def _one_refutation_a_round(self, name: str, observer: Observer, now: int) -> None:
        """Beside the incarnations that new tags need."""
        incarnation, tags = observer.part.identity.incarnation, observer.part.identity.tags
        if incarnation == observer.incarnation:
            return
        retagged, observer.tags = tags != observer.tags, tags
        if not retagged and observer.raised is not None and now - observer.raised < self._profile().probe_interval:
            self._violated("M5", name, f"two incarnations within {(now - observer.raised) / 1e9:.3f} s")
        observer.incarnation, observer.raised = incarnation, now

    def _suspicion_only_shortens(self, name: str, observer: Observer, directives: Directives, now: int) -> None:
        away = observer.part.stats()["late_rounds"] if any(is_suspicion(d) for d in directives) else observer.away
        excused, observer.away = away > observer.away, away
        last = {
            d.timer: d for d in directives if isinstance(d, Arm) and is_suspicion(d)
        }  # one step may end one and begin another
        for directive in last.values():
            member = observer.part.get(directive.timer[1])  # type: ignore[index]
            if member is None or member.state is not State.SUSPECT:
                continue
            accused = (member.name, member.boot, member.incarnation)
            least = observer.suspicions.get(accused)
            if least is None:
                window = self._profile().suspicion(min(observer.standing, len(observer.part.names_alive())))
                least = observer.suspicions[accused] = Suspicion(member.boot, member.incarnation, now, *window)
            until = observer.until.get(accused, directive.at)
            if excused:
                least.shift(directive.at - until)
            elif directive.at > max(until, now):
                self._violated("M6", name, f"the suspicion of {member.name} was made longer")
            others = [accuser for accuser in self._accusers.get(accused, ()) if accuser != name]
            least.accusers = dict.fromkeys((name, *others))
            if directive.at < least.deadline():
                self._violated("M6", name, f"{member.name} is given less time than {1 + len(others)} accusers allow")
            observer.until[accused] = directive.at

    def _violated(self, invariant: str, observer: str, what: str) -> None:
        self.violations.append(f"{invariant} {observer}: {what}")


def is_suspicion(directive: object) -> bool:
    return isinstance(directive, Arm) and isinstance(directive.timer, tuple) and directive.timer[0] == "suspicion"


def shown(member: Member) -> tuple[object, ...]:
    """What users see of a member: all but the incarnation."""
    return member.name, member.boot, member.state, member.address, member.tags
