"""Small cases of the agreed state in every interleaving (`exploring`): nothing breaks, and planted faults do, soon.

python -m tests.coordination.exploring            the table of faults, and how many states each needed
python -m pytest -m soak tests/coordination/test_exploring.py -s      all cases to their bounds"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable
from dataclasses import replace

import pytest

from coordination.agreed.voting.register import Register
from tests.coordination.exploring import space
from tests.coordination.exploring.__main__ import FOUND_BY, first
from tests.coordination.exploring.cases import CASES, Case, explore, prepare
from tests.coordination.exploring.cores import Core
from tests.coordination.exploring.freezing import Pool
from tests.coordination.exploring.spent import SpentLetters
from tests.coordination.exploring.state import State

STATES = 32_000
"""Of each case, in the ordinary tests."""
WHOLE = (
    "two voters",
    "two voters, a message is late or lost",
    "two voters, a message comes twice",
    "two voters, one forgets",
    "two voters, one remembers",
    "two voters, time leaps",
    "two voters, two owners",
    "two voters, two owners, a message is late or lost",
    "two voters, two owners, a message comes twice",
    "two voters, two owners, one forgets",
    "three voters",
    "three voters, a message is late or lost",
    "three voters, a message comes twice",
    "three voters, one remembers",
    "three voters, time leaps",
    "a held lock is handed over, and a message is late or lost",
    "a held lock is handed over, and a message comes twice",
    "a held lock has two owners",
    "a held lock has two owners, and a message is late or lost",
    "handed to who waits, late or lost",
    "handed to who waits, twice",
    "handed to who waits, one forgets",
    "handed to who waits, one remembers",
    "handed to who waits, one is gone",
    "two ask, a message is late or lost",
    "two ask, a message comes twice",
    "reads back what it forgot",
    "reads back, and a message is late or lost",
    "reads back, and a message comes twice",
    "a voter is replaced, and its lease goes on",
)
"""Their whole space is within that."""
DEEP = (
    "two ask",
    "two ask, one remembers",
    "a message is late or lost",
    "a voter says that it is fresh",
    "late, and time leaps",
    "forgets, and one is late",
    "handed behind its owner's back, time leaps past its first term",
)
"""Within that they are as others are, or nearly: they are searched with `-m soak`."""
SOAK_WHOLE = (
    *WHOLE,
    "three voters, one forgets",
    "two ask",
    "a held lock has two owners, and a message comes twice",
    "two ask while the roster follows itself",
)
"""Two voters: every single fault. Three: late or lost, twice, forgets, remembers, with one user, or with two of whom one waits
for what the other gives back; what is larger is in docs/agreed.md."""
MILLION_EACH = 50_000
MILLION_SECONDS = 900
"""A million states of all cases together take at most so long."""
SOAK_STATES = 200_000


@pytest.mark.parametrize("name", [name for name in CASES if name not in DEEP])
def test_no_state_breaks_a_law(name: str) -> None:
    found = explore(CASES[name], limit=STATES)
    assert not found.broken, "\n".join([found.broken, *found.trace])
    assert found.whole if name in WHOLE else found.states >= STATES


class Hasty(SpentLetters):
    """Takes what changes nothing now for what never will."""

    def _try(self, core: int, letter: int, now: int) -> None:
        pass


def met(case: Case, *, reduced: bool) -> tuple[int, set[Hashable]]:
    """How many states there are, and what the laws have been shown."""
    small = prepare(case)
    shown: set[Hashable] = set()
    judge = small._judge

    def look(state: State) -> str:
        shown.add((tuple([small.cast.seen[core] for core in state.cores]), state.now, state.token, state.rosters))
        return judge(state)

    small._judge = look  # type: ignore[method-assign]
    found = small.search(reduced=reduced)
    assert found.whole and not found.broken
    return found.states, shown


@pytest.mark.parametrize(
    "name, ms",
    [
        ("two voters", 20),
        ("two voters, a message is late or lost", 20),
        ("two voters, two owners, a message is late or lost", 0),
        ("two voters, two owners, one forgets", 0),
        ("two voters, one remembers", 10),
        ("three voters, a message comes twice", 0),
        ("handed to who waits, late or lost", 20),
        ("handed to who waits, twice", 20),
        ("handed to who waits, one is gone", 20),
        ("reads back, and a message is late or lost", 10),
    ],
)
def test_nothing_is_missed_by_choosing_late(name: str, ms: int) -> None:
    """The laws are shown the same as if each fault were chosen where it may begin, and each delivery counted."""
    case = CASES[name]
    case = replace(case, bounds=replace(case.bounds, lasts=ms * 1_000_000))
    states, shown = met(case, reduced=False)
    fewer, same = met(case, reduced=True)
    assert fewer < states and same == shown


def test_nothing_is_missed_without_spent_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not, if nobody sees to it that a spent letter stays one."""
    case = CASES["two voters, a message comes twice"]
    case = replace(case, bounds=replace(case.bounds, lasts=20_000_000))
    states, shown = met(case, reduced=False)
    fewer, same = met(case, reduced=True)
    assert fewer < states and same == shown
    monkeypatch.setattr(space, "SpentLetters", Hasty)
    _, hasty = met(case, reduced=True)
    assert hasty < shown


@pytest.mark.parametrize("fault", FOUND_BY)
def test_planted_fault_is_found(fault: str) -> None:
    found = first(fault, STATES)
    assert found.broken, f"{fault}: not found in {found}"
    assert found.trace, "nothing tells how it came to it"


@pytest.mark.parametrize("name", ["two owners", "a voter remembers", "two propose"])
def test_a_state_that_was_kept_goes_on_as_the_one_that_was_not(name: str) -> None:
    """Else the search sees what the code does not do. Random paths, one with processes that live on, and one by the steps that
    were taken once for all states that were held to be equal."""
    dice = random.Random(1)
    for _ in range(10):
        small = prepare(CASES[name])
        cast, state = small.cast, small.start
        living = [cast.get(core) for core in state.cores]
        pool: Pool = {}
        for _ in range(40):
            steps = [each for each in small.following(state) if each[0][0] in ("deliver", "fire", "acquire", "release")]
            if not steps:
                break
            (what, which), following, broken = dice.choice(steps)
            assert not broken
            if what == "deliver":
                letter = cast.letters[~which if which < 0 else which]
                index = letter.to
                living[index].message(cast.names[letter.sender], letter.boot, letter.message, state.now)
            else:
                index = which
                if what == "fire":
                    living[index].fire(state.now)
                else:
                    living[index].command(what, state.now)
            core = living[index]
            core.out, core.told = [], []
            core.look(state.now)
            state = following
            kept = cast.get(state.cores[index])
            assert kept.frozen(pool) == core.frozen(pool)


def promises_more(core: Core) -> None:
    register = registers(core)
    register.promised = register.promised.next()


def waits_longer(core: Core) -> None:
    register = registers(core)
    (lease, kept), *_ = register.leases.items()
    register.leases[lease] = kept._replace(until=kept.until + 1)


def believes_longer(core: Core) -> None:
    assert core.parts is not None
    (record,) = core.parts.holder._wires.values()
    record.belief.deadline += 1


def hears_later(core: Core) -> None:
    assert core.parts is not None
    desk = core.parts.owner.desk("lock/a")
    assert desk is not None and desk.heard
    desk.heard[next(iter(desk.heard))] += 1


def wakes_later(core: Core) -> None:
    core.timers[next(iter(core.timers))] += 1


def ticks(core: Core) -> None:
    core.clock._last += 1


def gives_up(core: Core) -> None:
    assert core.user is not None
    core.user.rounds += 1


def registers(core: Core) -> Register:
    assert core.parts is not None
    register = core.parts.acceptor.register("lock/a")
    assert register is not None
    return register


@pytest.mark.parametrize(
    "change",
    [promises_more, waits_longer, believes_longer, hears_later, wakes_later, ticks, gives_up],
    ids=lambda each: each.__name__,
)
def test_what_a_process_may_look_at_tells_its_state_from_others(change: Callable[[Core], None]) -> None:
    """Else states that go on differently count as one, and the second is never looked at."""
    small = prepare(CASES["time leaps while one holds"])
    pool: Pool = {}
    core = small.cast.get(small.start.cores[1])
    before = core.frozen(pool)
    assert small.cast.get(small.start.cores[1]).frozen(pool) == before
    change(core)
    assert core.frozen(pool) != before


@pytest.mark.soak
@pytest.mark.timeout(2 * MILLION_SECONDS)
def test_a_million_states() -> None:
    begun = time.process_time()
    states = 0
    for name, case in CASES.items():
        found = explore(longer(name, case), limit=MILLION_EACH)
        print(f"{time.process_time() - begun:.0f} s: {name}: {found}", flush=True)
        assert not found.broken, "\n".join([name, found.broken, *found.trace])
        states += found.states
    assert states >= 1_000_000
    assert time.process_time() - begun < MILLION_SECONDS


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", CASES)
def test_further(name: str) -> None:
    """More states than that, and the whole space where there is time for it."""
    case = CASES[name]
    bounds = longer(name, case)
    found = explore(bounds, limit=SOAK_STATES)
    assert not found.broken, "\n".join([found.broken, *found.trace])
    if name in SOAK_WHOLE and not (found.whole and bounds == case):
        found = explore(case)
        assert found.whole and not found.broken


def longer(name: str, case: Case) -> Case:
    """Time for a lease to run out, and for what comes after it."""
    lasts = max(case.bounds.lasts, 150_000_000) if name in WHOLE else case.bounds.lasts
    return replace(case, bounds=replace(case.bounds, lasts=lasts))
