"""The cases: who is there, what happened before the search begins, and how much may go wrong.

A lease lasts 400 ms here, and so does M. `n1` is the first of the key's group; where `n2` takes it for dead, there are two that
act for the key at once. The holder's clock is 1 % slow and the acceptors' 1 % fast where leases run out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.reader_messages import TableAsk
from coordination.agreed.vocabulary.roster import Parameters
from coordination.agreed.vocabulary.succession_messages import EpochAsk, EpochOk
from mesh.directives import Message
from tests.coordination.agreed_world import MS, Changes
from tests.coordination.exploring.cast import Cast, Outcome
from tests.coordination.exploring.cores import Core, User, View
from tests.coordination.exploring.space import KINDS, Bounds, Found, Space
from tests.coordination.exploring.state import State

__all__ = ["CASES", "Case", "explore", "prepare"]

KEY = "lock/a"
TTL = 400 * MS
PARAMETERS = Parameters(R=3, max_ttl=TTL, rho=10, max_drift=100 * MS)
FOUNDED = 1_000 * MS


@dataclass(frozen=True)
class Case:
    voters: int
    users: Mapping[str, User]
    bounds: Bounds
    ttl: int = TTL
    """ns; M is as long."""
    others: int = 0
    """Members that do not vote, or not yet."""
    rates: Mapping[str, int] = field(default_factory=dict)
    durable: bool = False
    elastic: bool = False
    fresh: bool = False
    """Whether who comes back says that no lock of this mesh is alive."""
    dead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Whom a member takes for dead."""
    deaf: str = ""
    """Who has heard nothing of that."""
    forgot: str = ""
    """Who has restarted without memory just before, and knows the roster: what it asks the others is under way."""
    before: tuple[tuple[str, str], ...] = ()
    """What users have done before, one after the other, with nothing going wrong."""


class Rehearsal:
    """What happens before the search: messages in their order, timers in theirs."""

    def __init__(self, cores: list[Core]) -> None:
        self.cores = cores
        self.now = FOUNDED
        self.deaf = ""
        self.under_way: list[tuple[Core, str, Message]] = []
        """Questions of a voter that has forgotten: they are the search's."""

    def settle(self) -> None:
        """Until nothing is under way."""
        by_name = {core.identity.name: core for core in self.cores}
        while True:
            sent = [(core, to, message) for core in self.cores for to, message in core.out]
            for core in self.cores:
                core.out, core.told = [], []
            if not sent:
                return
            for core, to, message in sent:
                if isinstance(message, TableAsk):
                    self.under_way.append((core, to, message))
                elif to in by_name and to != self.deaf:
                    by_name[to].message(core.identity.name, core.identity.boot, message, self.now)

    def run_until(self, condition: Callable[[], bool]) -> None:
        self.settle()
        while not condition():
            self.now = min(due for core in self.cores if (due := core.next_due()) is not None)
            for core in self.cores:
                while (due := core.next_due()) is not None and due <= self.now:
                    core.fire(self.now)
                    self.settle()


def prepare(case: Case, faults: Changes = ()) -> Space:
    """The space of a case, with planted faults in all processes."""
    names = tuple([f"n{number}" for number in range(case.voters + case.others)])
    cast = Cast(names, faults)
    parameters = PARAMETERS._replace(elastic=case.elastic, max_ttl=case.ttl)

    def make(name: str, now: int, process: int, user: User | None) -> Core:
        view = View(names, frozenset(case.dead.get(name, ())))
        rate = case.rates.get(name, 10_000)
        return cast.core(name, now, rate=rate, user=user, view=view, tables=case.durable, process=process)

    users = {name: replace(user, ttl=case.ttl) for name, user in case.users.items()}
    cores = [make(name, FOUNDED, 1, users.get(name)) for name in names]
    rehearsal = Rehearsal(cores)
    for core in cores:
        core.view.dead = frozenset()
        core.start(FOUNDED, parameters, faults, founders=case.voters, fresh=True)
    rehearsal.run_until(lambda: all(core.roster() is not None for core in cores))
    for name, core in zip(names, cores, strict=True):
        core.view.dead = frozenset(case.dead.get(name, ()))
    rehearsal.deaf = case.deaf
    for name, what in case.before:
        cores[names.index(name)].command(what, rehearsal.now)
        rehearsal.settle()
    rehearsal.deaf = ""
    if case.forgot:
        index = names.index(case.forgot)
        cores[index] = make(case.forgot, rehearsal.now, 2, None)
        cores[index].start(rehearsal.now, parameters, faults, founders=case.voters, fresh=False)
        rehearsal.under_way.clear()
        rehearsal.run_until(lambda: cores[index].roster() is not None)
        rehearsal.settle()
    now = rehearsal.now
    believed = [each.lease.token for core in cores for each in core.look(now).believing]
    states = tuple([cast.put(core, now) for core in cores])
    asked = [cast.letter(core, to, message) for core, to, message in rehearsal.under_way]
    start = State(
        states, tuple(sorted([each for each in asked if each is not None])), now, (0,) * KINDS, max(believed, default=0)
    )

    def restart(index: int, number: int, at: int) -> Outcome:
        def act(core: Core) -> None:
            process = make(names[index], at, 2, None)
            core.identity, core.clock = process.identity, process.clock
            if case.bounds.forgets:
                core.tables = process.tables
            core.start(at, parameters, faults, founders=case.voters, fresh=case.fresh)

        return cast.other(number, "start", at, act)

    roster = cores[0].roster()
    assert roster is not None
    group = () if case.elastic else tuple(Placement(roster).group(KEY))
    return Space(cast, start, case.bounds, key=KEY, group=group, restart=restart)


def explore(case: Case, faults: Changes = (), *, limit: int = 0, seconds: float = 0, reduced: bool = True) -> Found:
    """Search the space of a case; `limit` states, and so many seconds of processor time, at the most."""
    return prepare(case, faults).search(limit=limit, seconds=seconds, reduced=reduced)


def users(*names: str, rounds: int = 1, keeps: bool = False, renews: bool = True) -> dict[str, User]:
    return {name: User(KEY, TTL, rounds, keeps=keeps, renews=renews) for name in names}


TWO_ASK = users("n1", "n2")
TWO_OWNERS = {"n2": ("n1",)}
ESTRANGED = {"n0": ("n1",)}
DRIFTING = {"n0": 10_100, "n1": 9_900, "n2": 10_100}
"""As far as rho lets them, in 1/10,000."""
QUIET = (EpochAsk, EpochOk)
"""Voters vouch for one another all the time; that takes no time in these cases."""

FORGOT = Case(
    3,
    {**users("n1", keeps=True), **users("n2")},
    Bounds(lasts=60 * MS),
    dead=TWO_OWNERS,
    before=(("n1", "acquire"),),
    deaf="n2",
    forgot="n0",
)

HANDED = Case(
    3, {**users("n1"), **users("n2", keeps=True)}, Bounds(lasts=60 * MS), dead=TWO_OWNERS, before=(("n1", "acquire"),)
)
WAITED = Case(
    3, {**users("n1"), **users("n2", keeps=True)}, Bounds(lasts=60 * MS), before=(("n1", "acquire"), ("n2", "acquire"))
)
"""n2 has been told to wait; n1 gives back what it holds."""
HELD = replace(HANDED, users={**users("n1"), **users("n2", keeps=True, renews=False)}, bounds=Bounds())

CASES: dict[str, Case] = {
    # Two voters: the whole space.
    "two voters": Case(2, users("n0", "n1"), Bounds(lasts=300 * MS)),
    "two voters, a message is late or lost": Case(2, users("n0", "n1"), Bounds(lasts=60 * MS, slow=1)),
    "two voters, a message comes twice": Case(2, users("n0", "n1"), Bounds(lasts=60 * MS, again=1)),
    "two voters, time leaps": Case(2, users("n0", "n1", keeps=True), Bounds(lasts=400 * MS, leap=1)),
    "two voters, one forgets": Case(2, users("n0", "n1"), Bounds(lasts=60 * MS, crash=1, crashes=("n0", "n1"))),
    "two voters, one remembers": Case(
        2, users("n0", "n1"), Bounds(lasts=60 * MS, crash=1, crashes=("n0", "n1"), forgets=False), durable=True
    ),
    # Two voters, and one takes the other for dead: both act for the key.
    "two voters, two owners": Case(2, users("n0", "n1"), Bounds(lasts=60 * MS), dead=ESTRANGED),
    "two voters, two owners, a message is late or lost": Case(
        2, users("n0", "n1"), Bounds(lasts=10 * MS, slow=1), dead=ESTRANGED
    ),
    "two voters, two owners, a message comes twice": Case(2, users("n0", "n1"), Bounds(again=1), dead=ESTRANGED),
    "two voters, two owners, one forgets": Case(2, users("n0", "n1"), Bounds(crash=1, crashes=("n0", "n1")), dead=ESTRANGED),
    # Three voters, one user.
    "three voters": Case(3, users("n2"), Bounds()),
    "three voters, a message is late or lost": Case(3, users("n2"), Bounds(lasts=20 * MS, slow=1)),
    "three voters, a message comes twice": Case(3, users("n2", keeps=True), Bounds(again=1)),
    "three voters, one forgets": Case(3, users("n2", keeps=True), Bounds(crash=1, crashes=("n0", "n1"))),
    "three voters, one remembers": Case(
        3, users("n2", keeps=True), Bounds(crash=1, crashes=("n0", "n1"), forgets=False), durable=True
    ),
    "three voters, time leaps": Case(3, users("n2", keeps=True), Bounds(lasts=400 * MS, leap=1), before=(("n2", "acquire"),)),
    # Three voters and two owners: n1 gives back what it holds, and n2 asks behind its back. What n2 is granted it renews after
    # 50 ms, or, where nobody goes on renewing, at once.
    "a held lock is handed over, and a message is late or lost": replace(HANDED, bounds=Bounds(lasts=60 * MS, slow=1)),
    "a held lock is handed over, and a message comes twice": replace(HANDED, bounds=Bounds(lasts=60 * MS, again=1)),
    "a held lock has two owners": HELD,
    "a held lock has two owners, and a message is late or lost": replace(HELD, bounds=Bounds(lasts=20 * MS, slow=1)),
    "a held lock has two owners, and a message comes twice": replace(HELD, bounds=Bounds(again=1)),
    # Three voters: n2 waits for what n1 gives back.
    "handed to who waits, late or lost": replace(WAITED, bounds=Bounds(lasts=60 * MS, slow=1)),
    "handed to who waits, twice": replace(WAITED, bounds=Bounds(lasts=60 * MS, again=1)),
    "handed to who waits, one forgets": replace(WAITED, bounds=Bounds(lasts=20 * MS, crash=1, crashes=("n0", "n1", "n2"))),
    "handed to who waits, one remembers": replace(
        WAITED, bounds=Bounds(lasts=20 * MS, crash=1, crashes=("n0", "n1", "n2"), forgets=False), durable=True
    ),
    "handed to who waits, one is gone": replace(
        WAITED, bounds=Bounds(lasts=120 * MS, crash=1, crashes=("n0", "n1", "n2"), comes_back=False)
    ),
    "handed to who waits, time leaps past its first term": replace(
        WAITED, bounds=Bounds(lasts=10 * MS, far=2_200 * MS, leap=1), rates=DRIFTING, ttl=3_000 * MS
    ),
    "handed behind its owner's back, time leaps past its first term": replace(
        HANDED, bounds=Bounds(lasts=10 * MS, far=2_200 * MS, leap=1), rates=DRIFTING, ttl=3_000 * MS
    ),
    # Three voters, two who ask at once.
    "two ask": Case(3, {**users("n1"), **users("n2", keeps=True)}, Bounds()),
    "two ask, a message is late or lost": Case(3, users("n1", "n2", keeps=True), Bounds(lasts=60 * MS, slow=1)),
    "two ask, a message comes twice": Case(3, users("n1", "n2", keeps=True), Bounds(again=1)),
    "two ask, one forgets": Case(3, users("n1", "n2", keeps=True), Bounds(crash=1, crashes=("n0", "n1"))),
    "two ask, one remembers": Case(
        3, users("n1", "n2", keeps=True), Bounds(crash=1, crashes=("n0", "n1"), forgets=False), durable=True
    ),
    # Three voters: as deep as there is time.
    "two owners": Case(3, TWO_ASK, Bounds(), dead=TWO_OWNERS),
    "a message is late or lost": Case(3, TWO_ASK, Bounds(lasts=300 * MS, slow=1), dead=TWO_OWNERS),
    "a message comes twice": Case(3, TWO_ASK, Bounds(lasts=300 * MS, again=1), dead=TWO_OWNERS),
    "time leaps": Case(3, TWO_ASK, Bounds(lasts=600 * MS, leap=1), dead=TWO_OWNERS, rates=DRIFTING),
    "time leaps while one holds": Case(
        3,
        {**users("n1", rounds=2), **users("n2")},
        Bounds(lasts=600 * MS, leap=1),
        dead=TWO_OWNERS,
        rates=DRIFTING,
        before=(("n1", "acquire"),),
    ),
    "a voter forgets": Case(3, TWO_ASK, Bounds(lasts=600 * MS, crash=1, crashes=("n0", "n1")), dead=TWO_OWNERS),
    "a voter remembers": Case(
        3,
        TWO_ASK,
        Bounds(lasts=600 * MS, crash=1, crashes=("n0", "n1"), forgets=False),
        dead=TWO_OWNERS,
        durable=True,
    ),
    "a voter says that it is fresh": Case(
        3, TWO_ASK, Bounds(lasts=600 * MS, crash=1, crashes=("n0", "n1")), dead=TWO_OWNERS, fresh=True
    ),
    # n0 has forgotten a lease that only n1, who holds it, knows beside; n2 takes n1 for dead, and asks.
    "reads back what it forgot": FORGOT,
    "reads back, and a message is late or lost": replace(FORGOT, bounds=Bounds(lasts=30 * MS, slow=1)),
    "reads back, and a message comes twice": replace(FORGOT, bounds=Bounds(lasts=30 * MS, again=1)),
    "reads back, and both ask": replace(
        FORGOT, users=users("n1", "n2", rounds=2), bounds=Bounds(lasts=60 * MS, slow=1), before=(), deaf=""
    ),
    "late, and time leaps": Case(3, TWO_ASK, Bounds(lasts=600 * MS, slow=1, leap=1), dead=TWO_OWNERS, rates=DRIFTING),
    "forgets, and one is late": Case(
        3, TWO_ASK, Bounds(lasts=300 * MS, slow=1, crash=1, crashes=("n0", "n1")), dead=TWO_OWNERS
    ),
    # The roster changes.
    "a voter is replaced while it holds": Case(
        2,
        users("n0", "n2"),
        Bounds(change=1, rosters=(("n1", "n2"),), proposers=("n0",), calm=QUIET),
        others=1,
        elastic=True,
        before=(("n0", "acquire"),),
    ),
    "a voter is replaced, and its lease goes on": Case(
        2,
        users("n0"),
        Bounds(change=1, rosters=(("n1", "n2"),), proposers=("n0",), calm=QUIET),
        others=1,
        elastic=True,
        before=(("n0", "acquire"),),
    ),
    "two ask while the roster follows itself": Case(
        2, users("n0", "n1"), Bounds(change=1, rosters=(("n0", "n1"),), proposers=("n0",), calm=QUIET), elastic=True
    ),
    "two propose": Case(
        3,
        {},
        Bounds(change=2, rosters=(("n0", "n1"), ("n1", "n2")), proposers=("n0", "n1"), calm=QUIET),
        elastic=True,
    ),
    "all are replaced, one after the other": Case(
        2,
        users("n0", "n2", keeps=True),
        Bounds(change=2, rosters=(("n1", "n2"), ("n2",)), proposers=("n0", "n1"), calm=QUIET),
        others=1,
        elastic=True,
        before=(("n0", "acquire"),),
    ),
}
