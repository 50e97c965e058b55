"""The protocols that are compared: plain SWIM, each part of Lifeguard alone, all of them, and what this project has beside.

What is a constant is left out by a profile (no health: `health_worst` 0; windows that do not shrink: `suspicion_stretch` 1; one
timeout for all: floor and ceiling together); what is code, by the overriding of one method here. The product knows
nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from crdt.clock import HybridClock, Instant
from mesh.directives import Address, Dial, Directive, Directives, Source
from mesh.membership import Identity, Member, Profile
from mesh.membership.hearing import Hearing
from mesh.membership.probe import DIAL
from simulations.members_only import Acquainted

__all__ = ["VARIANTS", "Parts", "Variant"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a protocol has beyond SWIM."""

    health: bool = False
    """Lifeguard's local health, with nacks."""
    shrinking: bool = False
    """Lifeguard's suspicion, whose window shrinks with confirmations."""
    buddy: bool = False
    """Lifeguard's buddy system: the accused is told first."""
    lateness: bool = False
    """The own lateness is noticed first."""
    trips: bool = False
    """Timeouts follow the measured round trips."""
    streams: bool = False
    """A probe by stream beside the asking of others; idle streams and refusals as evidence."""
    asking: bool = False
    """Who is called dead of a sudden is asked first."""

    def profile(self, base: Profile) -> Profile:
        return replace(
            base,
            health_worst=base.health_worst if self.health else 0,
            suspicion_stretch=base.suspicion_stretch if self.shrinking else 1,
            probe_timeout_floor=base.probe_timeout_floor if self.trips else base.probe_timeout - 1,
        )


class Believing(Hearing):
    """Any rumour of a death is a death."""

    __slots__ = ()

    def _surprising(self, news: Member, source: Source, now: Instant) -> bool:
        return False


class Membership(Acquainted):
    """One that has only the parts that it is given."""

    def __init__(
        self,
        identity: Identity,
        seeds: Sequence[Address],
        random: Random,
        clock: HybridClock,
        profile: Profile,
        *,
        parts: Parts,
    ) -> None:
        self._parts = parts
        super().__init__(identity, seeds, random, clock, parts.profile(profile))
        if not parts.asking:
            self._hearing.__class__ = Believing

    def _accused(self, name: str) -> Member | None:
        return super()._accused(name) if self._parts.buddy else None

    def piggyback(self, to: str, budget: int) -> list[bytes]:
        """Without buddies the accused is told as anybody is: by chance."""
        return super().piggyback(to if self._parts.buddy else "", budget)

    def _notice_lateness(self, due: int | None, now: Instant) -> None:
        if self._parts.lateness:
            super()._notice_lateness(due, now)

    def _on_refused(self, address: Address, now: Instant) -> None:
        if self._parts.streams:
            super()._on_refused(address, now)

    def _on_due(self, timer: Hashable, now: Instant) -> None:
        if self._parts.streams or timer != ("tend",):
            super()._on_due(timer, now)

    def _taken(self) -> Directives:
        taken = super()._taken()
        return taken if self._parts.streams else [directive for directive in taken if not _probes(directive)]


def _probes(directive: Directive) -> bool:
    return isinstance(directive, Dial) and isinstance(directive.tag, tuple) and directive.tag[:2] == (DIAL, "probe")


@dataclass(frozen=True, slots=True)
class Variant:
    name: str
    about: str
    parts: Parts

    @property
    def make(self) -> Callable[..., Membership]:
        return partial(Membership, parts=self.parts)


LIFEGUARD = Parts(health=True, shrinking=True, buddy=True)

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("swim", "plain SWIM: a fixed window, one timeout, no doubt of oneself", Parts()),
        Variant("health", "SWIM and local health, with nacks", Parts(health=True)),
        Variant("suspicion", "SWIM and windows that shrink with confirmations", Parts(shrinking=True)),
        Variant("buddy", "SWIM and the accused told first", Parts(buddy=True)),
        Variant("lifeguard", "all three: the paper's Lifeguard", LIFEGUARD),
        Variant("lateness", "SWIM and the own lateness noticed first", Parts(lateness=True)),
        Variant("default", "this project: Lifeguard, lateness, measured timeouts, streams, asking", replace(
            LIFEGUARD, lateness=True, trips=True, streams=True, asking=True)),
    )
}  # fmt: skip
