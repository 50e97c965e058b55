"""Short stories of an atomic register that is moved, or read back, while voters forget. What breaks a rule raises Violation.

Where a founder has to read back in the first place (it accepted the roster twice) there is nothing to tell."""

from __future__ import annotations

from collections.abc import Callable

from coordination.agreed.vocabulary.placement import Group, Placement
from coordination.agreed.vocabulary.succession_messages import ChainIs
from simulations.checkers.linearizable import Linearizable, linearize
from simulations.checkers.models import Register
from tests.coordination.agreed_campaign import first_violation
from tests.coordination.agreed_world import MS, Changes, S, Violation
from tests.coordination.moving_campaign import MovingWorld
from tests.coordination.roster_campaign import ELASTIC

KEY = "atomic/a"
Story = Callable[[int, Changes], None]


def begin(seed: int, faults: Changes, voters: int) -> MovingWorld:
    world = MovingWorld(
        seed, voters=voters, clients=5, latency=(MS, 3 * MS), faults=faults, parameters=ELASTIC._replace(R=3), thin=0
    )
    if not world.run_until(world.founded, 20 * S):
        raise Violation("birth: no roster")
    world.run(S)
    return world


def founders(world: MovingWorld) -> bool:
    """Whether every voter remembers all from the beginning."""
    return all(world.since(name, KEY) == 0 for name in world.decided[1].voters)


def group(world: MovingWorld, epoch: int = 1) -> Group:
    return Placement(world.decided[epoch]).group(KEY)


def apart(world: MovingWorld, *side: str) -> None:
    """These and all others do not hear each other."""
    for name in side:
        for far in world.nodes:
            if far not in side:
                world.cut(name, far)


def write(world: MovingWorld, name: str, value: int) -> None:
    done = world.outcomes["write"]
    asked = world.call(name, f"{name}.w", KEY, "write", value)
    if not world.run_until(lambda: asked.over, 2 * S) or world.outcomes["write"] == done:
        raise Violation(f"L9: {name} could not write, seed {world.seed}")


def read(world: MovingWorld, *names: str) -> None:
    for name in names:
        world.call(name, f"{name}.r", KEY, "read")
    world.run(3 * S)


def judge(world: MovingWorld) -> None:
    verdict = linearize(list(world.history), Register())
    if not isinstance(verdict, Linearizable):
        raise Violation(f"L10: {verdict}, seed {world.seed}")


def forgets_what_it_decided(seed: int, faults: Changes) -> None:
    """Two of a group decide; one of them forgets, the other is cut off, and the third has heard nothing."""
    world = begin(seed, faults, 5)
    if not founders(world):
        return
    one, two, three = group(world)
    apart(world, three)
    write(world, one, 7)
    world.crash(two)
    world.heal()
    apart(world, one)
    world.start(two)
    world.run(3 * S)
    read(world, two, three)
    world.heal()
    world.run(4 * S)
    read(world, *world.nodes)
    judge(world)


def moved_by_the_forgetful(seed: int, faults: Changes) -> None:
    """All voters are replaced while the only one that keeps a value is cut off; another kept it, and has forgotten."""
    world = begin(seed, faults, 3)
    if not founders(world):
        return
    one, two, three = group(world)
    apart(world, three)
    write(world, one, 7)
    world.crash(two)
    world.heal()
    world.start(two)
    # It is told of the roster, and nothing of the register.
    world.lose = lambda number, a, to, message: type(message).__name__ in ("Recollection", "KeysAre")
    world.run(2 * S)
    apart(world, one)
    world.propose(three, ("n3", "n4", "n5"))
    world.run(4 * S)
    read(world, "n3", "n6")
    world.lose = None
    world.heal()
    world.run(8 * S)
    read(world, *world.nodes)
    judge(world)


def forgets_what_followed(seed: int, faults: Changes) -> None:
    """A voter writes under a second roster, forgets, and is told of the first one only, for a while."""
    world = begin(seed, faults, 2)
    if not founders(world):
        return
    forgets, other = world.decided[1].voters
    new, late = "n5", "n6"
    write(world, forgets, 1)
    world.lose = lambda number, a, to, message: isinstance(message, ChainIs) and to != new
    apart(world, forgets, other, new)
    world.propose(forgets, (forgets, new, late))
    world.run(100 * MS)
    world.lose = None
    apart(world, forgets, new)
    write(world, forgets, 2)
    world.crash(forgets)
    world.heal()
    apart(world, forgets, other, late)
    world.start(forgets)
    world.run(3 * S)
    # Those that know tell what became of the roster, and nothing of the register.
    world.heal()
    world.lose = lambda number, a, to, message: type(message).__name__ in ("Recollection", "KeysAre", "Call")
    world.run(S)
    world.lose = None
    apart(world, new)
    read(world, forgets, late)
    world.heal()
    world.run(6 * S)
    read(world, *world.nodes)
    judge(world)


STORIES: dict[str, Story] = {
    story.__name__: story for story in (forgets_what_it_decided, moved_by_the_forgetful, forgets_what_followed)
}


def tell(story: Story, seeds: range, faults: Changes = ()) -> tuple[int, str] | None:
    """The first seed with which a rule is broken."""
    return first_violation(lambda seed: story(seed, faults), seeds)
