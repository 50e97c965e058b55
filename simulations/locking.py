"""Users of locks: who asks for what, who believes in what, whose body runs. Checkers and workloads read it here.

A *claim* is one request of one process. Its *body* runs from `Granted` until it is told that the lease ends, or leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from coordination.agreed.vocabulary import events
from mesh.directives import Event
from simulations.cluster import Cluster, SimPeer
from simulations.dice import seed_of
from simulations.machine.process import Process
from simulations.observer import Observer

__all__ = ["Claim", "LockUser", "Locks"]

MS = 1_000_000
SECOND = 1_000 * MS
CONCERNING = (
    events.Granted, events.Ending, events.Ended, events.Released, events.Busy, events.Unavailable,
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Claim:
    peer: SimPeer
    request: int
    key: str
    ttl: int
    since: int
    """True ns."""
    state: str = "asking"
    """asking, held, leaving (released, not confirmed), or how it ended: released, ended, busy, unavailable, cancelled, dead."""
    body: bool = False
    token: int = 0
    changed: list[Callable[[Claim], None]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"claim {self.request} of {self.peer} on {self.key} ({self.state})"

    @property
    def believed(self) -> bool:
        """Whether its process believes now, by its own clock."""
        return self.peer.holds(self.request)


class Locks(Observer):
    """Every claim that is not over."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.grants = 0
        self.outcomes: dict[str, int] = {}
        self._by_process: dict[Process, dict[int, Claim]] = {}
        self._by_key: dict[str, dict[Claim, None]] = {}
        self._listeners: list[Callable[[Claim, Event], None]] = []
        cluster.world.observe(self)

    def listen(self, listener: Callable[[Claim, Event], None]) -> None:
        """Call `listener` with each event of a claim, after the claim has changed."""
        self._listeners.append(listener)

    def of(self, process: Process) -> dict[int, Claim]:
        return self._by_process.get(process, {})

    def on(self, key: str) -> list[Claim]:
        return list(self._by_key.get(key, ()))

    # --- commands ------------------------------------------------------------------------------------------------------

    def acquire(
        self, peer: SimPeer, key: str, *, ttl: int = SECOND, wait: bool = True, renew: bool = True, kind: str = "lock"
    ) -> Claim:
        request = peer.assembly.agreed.holder.next_request()
        claim = Claim(peer, request, key, ttl, self.cluster.world.now)
        self._by_process.setdefault(peer.process, {})[request] = claim
        self._by_key.setdefault(key, {})[claim] = None
        peer.ask(request, key, ttl=ttl, wait=wait, renew=renew, kind=kind)
        return claim

    def release(self, claim: Claim) -> None:
        claim.body = False
        claim.state = "leaving"
        claim.peer.tell_holder("release", claim.request)

    def cancel(self, claim: Claim) -> None:
        """Stop wanting it; nothing more is heard of it."""
        claim.body = False
        self._over(claim, "cancelled")
        claim.peer.tell_holder("cancel", claim.request)

    # --- what happens --------------------------------------------------------------------------------------------------

    def published(self, process: Process, event: Event) -> None:
        if not isinstance(event, CONCERNING):
            return
        claim = self._by_process.get(process, {}).get(event.request)
        if claim is None:
            return
        match event:
            case events.Granted():
                claim.state, claim.body, claim.token = "held", True, event.token
                self.grants += 1
            case events.Ending():
                claim.body = False
            case _:
                claim.body = False
                self._over(claim, type(event).__name__.lower())
        for listener in self._listeners:
            listener(claim, event)
        for changed in list(claim.changed):
            changed(claim)

    def died(self, process: Process) -> None:
        for claim in list(self.of(process).values()):
            claim.body = False
            self._over(claim, "dead")
            for changed in list(claim.changed):
                changed(claim)

    def _over(self, claim: Claim, state: str) -> None:
        claim.state = state
        self.outcomes[state] = self.outcomes.get(state, 0) + 1
        self._by_process[claim.peer.process].pop(claim.request, None)
        self._by_key[claim.key].pop(claim, None)


class LockUser:
    """A program on one machine that asks for locks again and again, through every restart of the node, until `until`."""

    def __init__(self, locks: Locks, name: str, keys: list[str], number: int, until: int) -> None:
        self._locks = locks
        self._world = locks.cluster.world
        self._name = name
        self._keys = keys
        self._until = until
        self._dice = Random(seed_of(self._world.seed, "user", name, number))
        self._world.after(self._dice.randrange(200 * MS), self._ask)

    def _ask(self) -> None:
        if self._world.now >= self._until:
            return
        peer = self._locks.cluster.peers.get(self._name)
        if peer is None or not peer.process.running:
            self._world.after(300 * MS, self._ask)
            return
        dice = self._dice
        claim = self._locks.acquire(
            peer,
            dice.choice(self._keys),
            ttl=dice.choice((SECOND // 2, SECOND, 2 * SECOND, 3 * SECOND)),
            wait=dice.random() < 0.8,
            renew=dice.random() < 0.7,
            kind=dice.choice(("lock", "lock", "lease")),
        )
        patience = dice.choice((dice.randrange(1, 60) * MS, dice.randrange(1, 3000) * MS, 20 * SECOND))
        self._world.after(patience, self._give_up, claim)
        claim.changed.append(self._changed)
        if claim.state != "asking":  # it was over at once
            self._changed(claim)

    def _changed(self, claim: Claim) -> None:
        if claim.state == "held" and claim.body:
            hold = self._dice.choice((0, 0, self._dice.randrange(1, 100) * MS, self._dice.randrange(1, 3000) * MS))
            self._world.after(hold, self._leave, claim)
        elif claim.state not in ("asking", "held", "leaving"):
            claim.changed.clear()
            self._world.after(self._dice.randrange(1, 100) * MS, self._ask)

    def _give_up(self, claim: Claim) -> None:
        if claim.state == "asking":
            if claim.peer.process.running:
                self._locks.cancel(claim)
                self._changed(claim)
            else:
                self._world.after(50 * MS, self._give_up, claim)

    def _leave(self, claim: Claim) -> None:
        if claim.state != "held":
            return
        if not claim.peer.process.running:
            self._world.after(50 * MS, self._leave, claim)
            return
        if self._dice.random() < 0.05:
            claim.peer.tell_holder("renew", claim.request)
            self._world.after(20 * MS, self._leave, claim)
        elif self._dice.random() < 0.8:
            self._locks.release(claim)
        else:
            self._locks.cancel(claim)
            self._changed(claim)
