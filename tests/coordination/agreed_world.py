"""A small deterministic world for the agreed state alone: real parts, simulated time, network, clocks and faults.

Voters, members that do not vote, and thin clients, which are a holder alone behind a sponsor, on what
`agreed_ground` simulates. The checkers look at true time, which no node can see:

    L1   nobody believes in a lock beside anyone that the modes of the two do not allow (`agreed_checks`)
    L2   tokens rise over the grants of a lock
    L4   a body is told before anyone is granted that it excludes; and a lock stays closed behind its dead for its delay
    L6   one request is granted once
    L9   no quorum is said if there is none, and only if something was wrong in the last seconds
    C19  a lease that is believed is never told to be over"""

from __future__ import annotations

from typing import Any

from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.modes import EXCLUSIVE, Mode
from mesh.directives import Event
from tests.coordination.agreed_checks import Closed, Tokens, clash
from tests.coordination.agreed_ground import Ground
from tests.coordination.agreed_nodes import (
    DAY_MS,
    MS,
    PARAMETERS,
    Changes,
    Node,
    S,
    Self_,
    Violation,
    Worker,
    plant,
)

__all__ = ["DAY_MS", "MS", "PARAMETERS", "Changes", "Node", "S", "Self_", "Violation", "Worker", "World", "plant"]

NO_QUORUM_WITHIN = 2 * S + 100 * MS
"""Whoever is cut off is told after 2 s of silence by its own clock, which may be 1 % slow; and it is looked at each 20 ms."""


class World(Ground):
    told_within = NO_QUORUM_WITHIN

    def __init__(self, seed: int, **how: Any) -> None:
        self.tokens: dict[str, Tokens] = {}
        self.closed: list[Closed] = []
        self.visible: dict[str, None] = {}
        """Ids of leases that bind something, and whose end nobody has told yet."""
        self.grants = 0
        super().__init__(seed, **how)

    # --- users ----------------------------------------------------------------------------------------------------

    def acquire(
        self,
        name: str,
        key: str,
        *,
        ttl: int = S,
        wait: bool = True,
        renew: bool = True,
        kind: str = "lock",
        mode: Mode = EXCLUSIVE,
        delay: int = 0,
    ) -> Worker:
        node = self.nodes[name]
        holder = node.holder
        assert holder is not None
        worker = Worker(name, holder.next_request(), key, "asking", wait, since=self.now, binds=kind == "lease")
        worker.mode, worker.delay = mode, delay
        node.workers[worker.request] = worker
        how = {"wait": wait, "renew": renew, "mode": mode, "delay": delay, "now": self.instant(node)}
        asked = holder.acquire(worker.request, key, kind=kind, ttl=ttl, **how)  # type: ignore[arg-type]
        self.perform(node, holder, asked)
        return worker

    def command(self, worker: Worker, what: str) -> None:
        node = self.nodes[worker.node]
        holder = node.holder
        if holder is None or worker.request not in node.workers:
            return
        if what in ("release", "cancel"):
            worker.body = False
            worker.state = "leaving" if what == "release" else "done"
            if what == "cancel":
                node.workers.pop(worker.request, None)
        elif what == "bind" and worker.lease:
            worker.binds = True
            self.visible[worker.lease] = None
        self.perform(node, holder, getattr(holder, what)(worker.request, self.instant(node)))

    def recheck(self) -> None:
        """What the layer above does each max_ttl on each node."""
        for node in self.nodes.values():
            if self.running(node) and node.parts is not None:
                owner = node.parts.owner
                self.perform(node, owner, owner.recheck(list(self.visible), self.instant(node)))

    def valid(self, worker: Worker) -> bool:
        node = self.nodes[worker.node]
        return node.up and node.holder is not None and node.holder.valid(worker.request, self.instant(node))

    # --- checkers -------------------------------------------------------------------------------------------------

    def observe(self, node: Node, event: Event) -> None:
        if isinstance(event, events.LeaseOver):
            self.visible.pop(event.lease_id, None)
            for other in self.all_workers():
                if other.lease == event.lease_id and self.valid(other):
                    raise Violation(f"C19: {other} still believes in what is over, seed {self.seed}")
        worker = node.workers.get(getattr(event, "request", -1))
        if worker is None:
            return
        if isinstance(event, events.Granted):
            self.check_grant(node, worker, event)
        elif isinstance(event, events.Ending):
            worker.body = False
        elif isinstance(event, events.Unavailable) and self.calm_for() > 4 * S:
            raise Violation(f"L9: {worker} was told that there is no quorum, seed {self.seed}")
        elif isinstance(event, events.Busy | events.OtherLimit | events.Unavailable | events.Ended | events.Released):
            if isinstance(event, events.Ended):
                self.unclean(node, worker)
            elif isinstance(event, events.OtherLimit):
                worker.limit_told = event.limit
            worker.body = False
            worker.state = type(event).__name__.lower()
            del node.workers[worker.request]

    def check_grant(self, node: Node, worker: Worker, event: events.Granted) -> None:
        if worker.state != "asking":
            raise Violation(f"L6: {worker} granted in state {worker.state}, seed {self.seed}")
        worker.state, worker.body, worker.token, worker.deadline = "held", True, event.token, event.deadline
        assert node.holder is not None
        worker.lease = node.holder.lease_id(worker.request)
        if worker.binds:
            self.visible[worker.lease] = None
        self.grants += 1
        others = [other for other in self.all_workers() if other is not worker and other.key == worker.key]
        valid = [other for other in others if self.valid(other)]
        if why := clash([worker, *valid]):
            raise Violation(f"L1: {worker} and {valid} hold at {self.now}, {why}, seed {self.seed}")
        untold = [other for other in others if other.body and other not in valid and self.can_be_told(other)]
        if why := clash([worker, *valid, *untold]):
            raise Violation(f"L4: {untold} were not told before {worker} was granted, {why}, seed {self.seed}")
        self.closed = [each for each in self.closed if each.until > self.now]
        behind = [each for each in self.closed if each.key == worker.key]
        if why := clash([worker, *valid, *behind]):
            raise Violation(f"delay: {worker} was granted at {self.now} in spite of {behind}, {why}, seed {self.seed}")
        if not self.tokens.setdefault(worker.key, Tokens()).granted(event.token, worker.mode):
            raise Violation(f"L2: {worker}: token not above those before, seed {self.seed}")

    def can_be_told(self, worker: Worker) -> bool:
        """A process that is stopped, or a machine that woke less than a tick ago, cannot."""
        node = self.nodes[worker.node]
        return self.running(node) and self.now - node.suspended > 110 * MS

    def unclean(self, node: Node, worker: Worker) -> None:
        """Its lease is not given back: it runs out, or has."""
        if worker.state != "held" or not worker.delay:
            return
        true = int((worker.deadline - node.offset) / node.rate)
        self.closed.append(Closed.after(worker.key, worker.mode, true, worker.delay))

    def check_told(self, worker: Worker) -> None:
        """Who is cut off from everyone has to be told, once no abstention can be the reason to wait."""
        if worker.state != "asking" or self.voters < 2 or worker.node not in self.isolated:
            return
        node = self.nodes[worker.node]
        abstained = max([self.abstained(name, node) for name in self.began])
        record = node.holder._requests.get(worker.request) if node.holder is not None else None
        if record is None or record.group is None:
            worker.uninformed = self.now  # without a roster it waits for one
        elif self.instant(node).mono < record.abstaining and self.now < max(node.paused + 4 * S, abstained + S):
            # It has stood still, and reads only now for how long somebody was to abstain; or that news was long on its way.
            worker.uninformed = self.now
        begun = max(self.isolated[node.name], worker.since, worker.uninformed, node.paused, abstained)
        if self.now - begun > self.told_within:
            raise Violation(f"L9: {worker} is cut off and has not been told, seed {self.seed}")

    def abstained(self, name: str, node: Node) -> int:
        """From when on what that one abstains keeps nobody waiting on `node`. Each of the two counts by its own clock, which
        stands still while its machine sleeps."""
        began, lags = self.began[name]
        return began + 4 * S + sum([self.nodes[each].lag - lags[each] for each in {name, node.name}])

    def all_workers(self) -> list[Worker]:
        return [worker for node in self.nodes.values() if node.up for worker in node.workers.values()]

    def check_beliefs(self) -> None:
        held: dict[str, list[Worker]] = {}
        for worker in self.all_workers():
            if worker.state in ("held", "leaving") and self.valid(worker):
                held.setdefault(worker.key, []).append(worker)
                if worker.delay and worker.state == "held":
                    holder = self.nodes[worker.node].holder
                    worker.deadline = (holder.deadline(worker.request) if holder is not None else None) or worker.deadline
        for believers in held.values():
            if len(believers) > 1 and (why := clash(believers)):
                raise Violation(f"L1: {believers} believe at {self.now}, {why}, seed {self.seed}")

    def founded(self) -> bool:
        return all(node.parts is None or node.parts.birth.roster is not None for node in self.nodes.values())
