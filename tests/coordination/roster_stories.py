"""Short stories of one change each, told to the real parts or to planted ones. A rule that is broken raises Violation."""

from __future__ import annotations

import random
from collections.abc import Callable

from coordination.agreed.vocabulary.messages import Accept, Mend, Prepare
from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.succession_messages import ChainIs
from coordination.agreed.voting.keeping import STAMP_SHIFT
from tests.coordination.agreed_campaign import first_violation
from tests.coordination.agreed_world import MS, Changes, S, Violation, Worker
from tests.coordination.reader_hall import SOURCE
from tests.coordination.roster_campaign import ELASTIC, RosterWorld

KEY = "lock/x"
Story = Callable[[int, Changes], RosterWorld]


def begin(seed: int, faults: Changes, *, voters: int = 3, clients: int = 5, R: int = 3) -> RosterWorld:
    world = RosterWorld(
        seed, voters=voters, clients=clients, latency=(MS, 3 * MS), faults=faults, parameters=ELASTIC._replace(R=R)
    )
    if not world.run_until(world.founded, 20 * S):
        raise Violation("birth: no roster")
    world.run(S)
    return world


def deafen(world: RosterWorld, *names: str) -> None:
    """Nobody tells these of a newer roster."""
    world.lose = lambda number, a, to, message: to in names and isinstance(message, ChainIs)


def settled(world: RosterWorld, worker: Worker, within: int) -> bool:
    return world.run_until(lambda: worker.state != "asking", within) and worker.state == "held"


def unaware_holder(seed: int, faults: Changes) -> RosterWorld:
    """A holder that hears nothing of the new roster renews with the old one, while another asks the new one."""
    world = begin(seed, faults)
    deafen(world, "n3")
    holder = world.acquire("n3", KEY, ttl=S)
    if not settled(world, holder, 2 * S):
        raise Violation("L12: not granted")
    world.propose("n0", ("n5", "n6", "n7"))
    world.run(random.Random(seed).randrange(20, 400) * MS)
    world.acquire("n4", KEY, ttl=S)
    world.run(5 * S)
    return world


def unaware_owner(seed: int, faults: Changes) -> RosterWorld:
    """An owner and a user that hear nothing of the new roster, which has none of the voters."""
    world = begin(seed, faults)
    group = Placement(world.newest).group(KEY)
    owner, rest = group[0], group[1:]
    deafen(world, owner, "n3")
    world.propose(rest[0], ("n5", "n6", "n7"))
    world.run(S // 10)
    world.acquire("n4", KEY, ttl=3 * S)
    world.run(random.Random(seed).randrange(10, 200) * MS)
    world.acquire("n3", KEY, ttl=3 * S)
    world.run(5 * S)
    return world


def stale_voter(seed: int, faults: Changes) -> RosterWorld:
    """One voter of three has not heard of a grant when all three are replaced."""
    world = begin(seed, faults)
    owner, _, stale = Placement(world.newest).group(KEY)
    world.cut(owner, stale)
    if not settled(world, world.acquire("n3", KEY, ttl=3 * S, renew=False), 2 * S):
        return world  # one of the two that are left abstains
    world.heal()
    world.propose(owner, ("n5", "n6", "n7"))
    world.run(random.Random(seed).randrange(10, 100) * MS)
    world.acquire("n4", KEY, ttl=3 * S)
    world.run(5 * S)
    return world


def unheard(seed: int, faults: Changes) -> RosterWorld:
    """Who decides cannot tell anyone, and another proposes."""
    world = begin(seed, faults, voters=random.Random(seed).choice([3, 4, 5]))
    first, second = random.Random(seed).sample(world.newest.voters, 2)
    world.lose = lambda number, a, to, message: a == first and isinstance(message, ChainIs)
    world.propose(first, ("n5", "n6", "n7"))
    world.run(random.Random(seed).randrange(5, 40) * MS)
    world.propose(second, ("n0", "n1", "n6"))
    world.run(S)
    world.lose = None
    world.run(8 * S)
    return world


def split_group(seed: int, faults: Changes) -> RosterWorld:
    """A majority of the lock's group, but not of the voters, is cut off and evicted, and goes on renewing."""
    world = begin(seed, faults, voters=5)
    group = Placement(world.newest).group(KEY)
    side = {*group[:2], "n5"}
    holder = world.acquire("n5", KEY, ttl=3 * S)
    if not settled(world, holder, 2 * S):
        raise Violation("L12: not granted")
    for name in world.nodes:
        for far in side:
            if name not in side:
                world.cut(name, far)
    rest = [name for name in world.newest.voters if name not in side]
    world.propose(rest[0], rest)
    world.run(S)
    other = world.acquire("n6", KEY, ttl=3 * S)
    again = world.acquire("n5", KEY, ttl=3 * S)
    for _ in range(40):
        world.run(S // 2)
        if other.state not in ("asking", "held"):
            other = world.acquire("n6", KEY, ttl=3 * S)
        if again.state not in ("asking", "held"):
            again = world.acquire("n5", KEY, ttl=3 * S)
    if other.state != "held":
        raise Violation(f"L12: a majority of the voters cannot have the lock, seed {seed}")
    return world


def forgot_two(seed: int, faults: Changes) -> RosterWorld:
    """A voter takes part in two changes, forgets both, and is told of the first by those that know nothing of the second."""
    world = begin(seed, faults, voters=5, clients=5)
    dice = random.Random(seed)
    apart(world, {"n0", "n1", "n2"})
    deafen(world, "n2")
    world.propose("n0", ("n0", "n1", "n5"))
    world.run(100 * MS)
    world.propose("n0", ("n0", "n6", "n7"))
    world.run(100 * MS)
    if max(world.decided) < 3:
        raise Violation(f"L12: nothing was decided, seed {seed}")
    world.crash("n1")
    world.heal()
    world.lose = None
    apart(world, {"n1", "n2", "n3", "n4", "n5"})
    world.start("n1")
    for _ in range(12):
        world.run(dice.randrange(200, 500) * MS)
        world.propose(dice.choice(("n1", "n5")), ("n1", "n2", "n5"))
    world.heal()
    world.run(8 * S)
    return world


def given_back_while_moved(seed: int, faults: Changes) -> RosterWorld:
    """The clocks of all old voters are ahead. The last lease that they granted is given back in the new roster, and who acts
    there next hears only those that were no voters then."""
    world = begin(seed, faults, clients=4)
    for name in world.newest.voters:
        node = world.nodes[name]
        node.clock.raise_floor(node.clock.read(world.instant(node)) + (450 << STAMP_SHIFT))
    former = world.acquire("n5", KEY, ttl=S)
    if not settled(world, former, 2 * S):
        raise Violation("L12: not granted")
    world.propose("n0", ("n0", "n3", "n4"))
    if not world.run_until(lambda: all(world.epoch(name) == 2 for name in ("n0", "n3", "n4", "n5", "n6")), 2 * S):
        raise Violation("L12: not changed")
    world.cut("n5", "n4")
    world.cut("n0", "n4")
    world.lies["n5"] = {"n4"}
    world.command(former, "release")
    world.run_until(lambda: former.state == "released", 2 * S)
    world.lies["n6"] = world.lies["n4"] = {"n0", "n3"}
    if not settled(world, world.acquire("n6", KEY, ttl=S), 3 * S):
        raise Violation("L12: not granted")
    return world


def moved_to_the_slow(seed: int, faults: Changes) -> RosterWorld:
    """A register that is free is moved by two, one of which is slow and the other of which dies."""
    world = begin(seed, faults, clients=4)
    last = min(world.nodes[name].wall for name in world.newest.voters)
    for name, behind in ("n3", 0), ("n4", 700):  # ms: more than max_drift, less than M/4
        world.crash(name)
        world.nodes[name].wall = last - behind
        world.start(name)
    world.run(S)
    former = world.acquire("n1", KEY, ttl=S)
    if not settled(world, former, 2 * S):
        raise Violation("L12: not granted")
    world.command(former, "release")
    world.run_until(lambda: former.state == "released", 2 * S)
    world.propose("n0", ("n0", "n3", "n4"))
    if not world.run_until(lambda: all(world.epoch(name) == 2 for name in ("n0", "n3", "n4", "n5")), 2 * S):
        raise Violation("L12: not changed")
    world.lose = lambda number, a, to, message: to == "n3" and isinstance(message, Prepare | Accept)
    node = world.nodes["n0"]
    assert node.parts is not None
    world.perform(node, node.parts.owner, node.parts.owner.on_message(Mend(KEY), SOURCE, world.instant(node)))
    world.run(50 * MS)
    world.lose = None
    world.crash("n0")
    if not settled(world, world.acquire("n3", KEY, ttl=S), 3 * S):
        raise Violation("L12: not granted")
    return world


def a_third_by_word(seed: int, faults: Changes) -> RosterWorld:
    """A lock lives on behind a partition. Its two voters forget everything and found anew, one of them wrongly `fresh`; a third
    one joins, and with that one it might grant the lock."""
    world = begin(seed, faults, voters=2, clients=3)
    holder = world.acquire("n3", KEY, ttl=3 * S)
    if not settled(world, holder, 2 * S):
        raise Violation("L12: not granted")
    world.isolate("n3")
    for name in ("n0", "n1", "n2", "n4"):
        world.crash(name)
    world.decided.clear()
    for name in ("n0", "n1", "n2", "n4"):
        world.start(name, fresh=name == "n0")
    if not world.run_until(lambda: all(world.epoch(name) == 1 for name in ("n0", "n1", "n2")), S):
        raise Violation("L12: not founded anew")
    world.run(200 * MS)
    world.propose("n0", ("n0", "n1", "n2"))
    world.run(200 * MS)
    if world.epoch("n0") != 2:
        raise Violation("L12: not changed")
    other = world.acquire("n4", KEY, ttl=S)
    world.run(4 * S)
    if other.state != "held" and not settled(world, world.acquire("n4", KEY, ttl=S), 2 * S):
        raise Violation("L12: not granted")
    return world


def apart(world: RosterWorld, side: set[str]) -> None:
    for name in side:
        for far in world.nodes:
            if far not in side:
                world.cut(name, far)


def duels(seed: int, faults: Changes) -> RosterWorld:
    """Nothing but proposals, of two or three voters at once, on a network that loses some."""
    dice = random.Random(seed)
    world = begin(seed, faults, voters=dice.choice([3, 4, 5]), clients=2)
    members = sorted(world.nodes)
    for _ in range(4):
        world.loss = dice.choice([0, 0, 0.1])
        for rival in dice.sample(world.newest.voters, min(len(world.newest.voters), dice.choice([2, 2, 3]))):
            chosen = dice.sample(members, dice.randrange(3, 6))
            world.after(dice.randrange(9 * MS), lambda rival=rival, chosen=chosen: world.propose(rival, chosen))
        if dice.random() < 0.3:
            world.cut(*dice.sample(members, 2))
        world.run(dice.randrange(5, 40) * MS)
        world.heal()
        world.run(dice.randrange(20, 3000) * MS)
    world.loss = 0
    world.heal()
    world.run(8 * S)
    epochs = {world.epoch(name) for name in members}
    if epochs != {max(world.decided)}:
        raise Violation(f"L11: {epochs} are the newest to some, {max(world.decided)} is decided, seed {seed}")
    return world


def tell(story: Story, seeds: range, faults: Changes = ()) -> tuple[int, str] | None:
    """The first seed with which a rule is broken."""
    return first_violation(lambda seed: story(seed, faults), seeds)
