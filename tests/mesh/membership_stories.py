"""A story for each invariant of membership that is one, told anew by each seed: who, when, how long, over which network.

Each raises `AssertionError` if what its invariant promises does not come true. What must hold after every step (M1, M2, M5, M6,
M7, M19) is watched in all of them (`membership_laws`)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

from mesh.directives import Message
from mesh.errors import AddressRefusedError, NameTakenError
from mesh.membership import WAN, Member, MemberChanged, State
from mesh.membership.checks import MAX_CHECKS
from mesh.membership.member import RANK
from mesh.membership.messages import Ack, Confirmed, Entry, Nack, News, Ping, PingRequest, WireBoot, entry_of
from mesh.membership.probe import MAX_PROBES
from mesh.membership.relays import MAX_RELAYS
from mesh.membership.rumours import MAX_SUBJECTS
from tests.mesh.fuzzing import state_of
from tests.mesh.membership_world import MS, SECOND, Process, World

SEEDS = ["10.0.0.1:7000", "10.0.0.2:7000"]
LARGEST = (1 << 64) - 1
DAY_MS = 86_400_000
WEEK = 7 * 86_400 * SECOND
SETTLED = 600 * SECOND


def known(observer: Process, name: str) -> Member:
    member = observer.part.get(name)
    assert member is not None
    return member


def begun(seed: int, least: int, most: int, loss: tuple[float, ...] = (0.0, 0.0, 0.1)) -> tuple[Random, World, list[Process]]:
    random = Random(seed)
    world = World(seed, loss=random.choice(loss), delay=(MS, random.choice([2, 10, 40]) * MS))
    made = world.mesh(random.randint(least, most))
    world.run(random.randrange(5 * SECOND))
    return random, world, made


def lawful(world: World) -> None:
    assert world.laws.violations == []


def again(world: World, p: Process, random: Random, after: int = 0) -> Process:
    world.dark.discard(p.address)
    return world.start(p.name, SEEDS, address=p.address, wall_offset=random.choice([0, 0, -5_000, 5_000]), after=after)


def m3_restarts(seed: int) -> None:
    """A name starts again with fresh memory, while "dead at 100" of its last process is told to everyone, itself included."""
    random, world, made = begun(seed, 3, 6, (0.0,))
    victim, teller = made[-1], made[0]
    victim.part.identity.incarnation = 99
    world.command(victim, victim.part.set_tags((("a", "b"),), world.instant(victim)))
    world.run_until(lambda: all(known(p, victim.name).incarnation == 100 for p in made), 10 * SECOND)
    rumour = News(replace(entry_of(known(teller, victim.name)), rank=RANK[State.DEAD]), None)
    random.choice([world.kill, world.cut_power])(victim)
    world.run(random.choice([0, 100, 5_000, 60_000]) * MS)
    back = again(world, victim, random, random.randrange(1, 300) * MS)

    def rumours() -> None:
        for p in world.living():
            if p is not teller:
                world.hear(p, teller, rumour)

    for after in range(0, 3_000, random.choice([50, 300])):
        world.later(after * MS, rumours)
    world.run(300 * MS)
    world.run_until(world.converged, world.profile.suspicion(len(made))[1])
    world.run(20 * SECOND)
    assert world.converged() and back.error is None
    lawful(world)


def m4_poison(seed: int) -> None:
    """A member says of another that it is at the largest incarnation there is, or has a boot of the far future."""
    random, world, made = begun(seed, 3, 7)
    victim, liar, *others = random.sample(made, len(made))
    lie = replace(entry_of(known(liar, victim.name)), rank=random.randrange(4))
    future = WireBoot(1 << 60, random.randbytes(16))
    lie = replace(lie, incarnation=LARGEST) if random.random() < 0.5 else replace(lie, boot=future)
    for _ in range(3):
        for p in (victim, *others):
            world.hear(p, liar, News(lie, None))
        world.run(random.choice([10, 500]) * MS)
    world.run_until(world.converged, 15 * SECOND)
    world.kill(victim)
    back = again(world, victim, random, random.choice([1, 3_000]) * MS)
    world.run(4 * SECOND)
    world.run_until(world.converged, 30 * SECOND)
    assert back.error is None
    lawful(world)


def m8_partition(seed: int, lasts: int | None = None) -> None:
    """A cut between two sides, of some length, in which some start again; it heals by itself, and then nobody is accused."""
    random, world, made = begun(seed, 3, 7, (0.0,))
    side = {p.name: i % 2 for i, p in enumerate(made)}  # each side has a seed, or a restart there could never find its own
    world.blocked = lambda one, other: side[one.name] != side[other.name]
    world.run(lasts or random.choice([1, 10, 60, 300]) * SECOND)
    for p in made:
        if random.random() < 0.3:
            world.kill(p)
            again(world, p, random, random.randrange(1, 10_000) * MS)
    world.run(random.choice([11, 40]) * SECOND)
    world.blocked = lambda one, other: False
    world.run_until(world.converged, 4 * world.profile.redial_last)
    accused = len(world.false_deaths)
    world.run(60 * SECOND)
    assert world.converged() and len(world.false_deaths) == accused
    lawful(world)


def m8_costs_nothing_to_wait(seed: int, lasts: int) -> None:
    """A cut that lasts: nobody's memory grows meanwhile, and nobody dials more often than at first; some start again in it."""
    profile = WAN
    random, world = Random(seed), World(seed, delay=(10 * MS, 80 * MS), profile=profile)
    made = world.mesh(4)
    side = {p.name: i % 2 for i, p in enumerate(made)}
    world.blocked = lambda one, other: side[one.name] != side[other.name]
    world.run(SETTLED)
    sizes = {p.name: state_of(p.part)[1] for p in made}
    dialled = world.dials.total()
    for p in made[:2]:
        world.run(lasts // 4)
        world.kill(p)
        again(world, p, random, SECOND)
    world.run(lasts // 2)
    rate = len(made) * (1 / profile.redial_last + 1 / profile.exchange_interval)
    assert world.dials.total() - dialled < 1.1 * rate * lasts
    for p in world.living():
        assert state_of(p.part)[1] < 1.1 * sizes[p.name] + 100, f"{p.name} has grown"
        assert len(p.timers) < 50 and len(p.streams) < 50
    world.blocked = lambda one, other: False
    world.run_until(world.converged, 4 * profile.redial_last)
    world.run(60 * SECOND)
    assert world.converged()
    lawful(world)


def m9_bad_links(seed: int) -> None:
    """Links between pairs are cut, one way or both, for datagrams or all; everyone else reaches both ends."""
    random, world, made = begun(seed, 5, 8, (0.0,))
    names = [p.name for p in random.sample(made, len(made))]
    pairs = [(names[i], names[i + 1]) for i in range(0, 2 * random.randint(1, 2), 2)]
    cut = {*pairs, *[(two, one) for one, two in pairs if random.random() < 0.5]}
    bad = lambda sender, receiver: (sender.name, receiver.name) in cut  # noqa: E731
    if random.random() < 0.5:
        world.blocked = bad
    else:
        world.muted = bad
    world.run(60 * SECOND)
    assert world.false_deaths == [] and world.converged()
    assert not any(isinstance(e, MemberChanged) and e.member.state is State.SUSPECT for p in made for e in p.events)
    lawful(world)


def m10_pauses(seed: int) -> None:
    """One or two sleep for 5 to 30 s, with a suspicion that will have run out; they declare nobody dead when they wake."""
    random, world, made = begun(seed, 5, 9, (0.0,))
    sleepers = random.sample(made[:-2], random.randint(1, 2))
    suspected, accuser = made[-1], made[-2]
    entry = replace(entry_of(known(accuser, suspected.name)), rank=RANK[State.SUSPECT])
    for p in sleepers:
        world.hear(p, accuser, News(entry, accuser.name))
        world.pause(p, random.randint(5_000, 30_000) * MS)
    world.run(31 * SECOND)
    world.run_until(world.converged, 15 * SECOND)
    world.run(20 * SECOND)
    asleep = {p.name for p in sleepers}
    assert world.converged() and [death for death in world.false_deaths if death[2] not in asleep] == []
    lawful(world)


def m11_half_die(seed: int) -> None:
    """Half of all die at once, some killed and some without power: all are known within the longest suspicion."""
    random, world, made = begun(seed, 8, 14)
    for victim in random.sample(made, len(made) // 2):
        random.choice([world.kill, world.cut_power])(victim)
    gone = [p.name for p in made if not p.alive]
    longest = world.profile.suspicion(len(made))[1]
    world.run_until(lambda: all(world.known_as(name, State.DEAD) for name in gone), longest + len(made) * SECOND)
    assert world.false_deaths == []
    lawful(world)


def m12_wall_jumps(seed: int) -> None:
    """Wall clocks jump by up to a day; nobody is accused, and who dies is known as soon as ever."""
    random, world, made = begun(seed, 4, 7, (0.0,))
    for _ in range(6):
        random.choice(made).wall_offset = random.choice([-1, 1]) * random.randint(1_000, DAY_MS)
        world.run(random.randrange(4 * SECOND))
    assert world.false_deaths == []
    assert not any(isinstance(e, MemberChanged) and e.member.state is State.SUSPECT for p in made for e in p.events)
    victim = random.choice(made)
    world.cut_power(victim)
    world.run_until(lambda: world.known_as(victim.name, State.DEAD), world.profile.suspicion(len(made))[1] + 10 * SECOND)
    assert world.false_deaths == []
    lawful(world)


def m13_leaves(seed: int) -> None:
    """One that is accused here and there leaves, or leaves and starts again; its own word from before never revives it."""
    random, world, made = begun(seed, 3, 7, (0.0,))
    leaver, others = made[-1], made[:-1]
    before = News(entry_of(known(leaver, leaver.name)), None)
    told = random.sample([*others, leaver], random.randint(0, len(others)))
    suspicion = replace(before.subject, rank=RANK[random.choice([State.SUSPECT, State.DEAD])])
    for p in told:
        world.hear(p, others[0] if p is not others[0] else others[1], News(suspicion, others[1].name))
    world.run(random.choice([0, 5, 500]) * MS)
    world.stop(leaver)
    world.run_until(lambda: world.known_as(leaver.name, State.LEFT), 10 * SECOND)
    for p in others:
        world.hear(p, leaver, before)
    world.run(20 * SECOND)
    assert world.known_as(leaver.name, State.LEFT)
    if random.random() < 0.5:
        again(world, leaver, random)
        world.run_until(world.converged, 10 * SECOND)
    lawful(world)


def m14_two_holders(seed: int) -> None:
    """Of two live holders of one name one remains, and the others see one change and no more."""
    random, world, made = begun(seed, 5, 7, (0.0,))
    first, beside = made[-1], made[-2]
    apart = {first.session, beside.session}
    world.blocked = lambda one, other: (one.session in apart) != (other.session in apart)
    world.run(random.randint(40, 80) * SECOND)
    second = world.start(first.name, SEEDS, wall_offset=random.choice([0, 5_000]))
    world.run(30 * SECOND)
    assert first.error is None and second.error is None
    marks = {p.name: len(p.events) for p in world.living()}
    world.blocked = lambda one, other: False
    world.run_until(lambda: first.error is not None, 60 * SECOND)
    world.run_until(world.converged, 20 * SECOND)
    world.run(20 * SECOND)
    assert isinstance(first.error, NameTakenError) and second.error is None
    for p in made[:-1]:
        since = [e for e in p.events[marks[p.name] :] if isinstance(e, MemberChanged) and e.member.name == first.name]
        assert len(since) == (1 if p is beside else 0), p.name
    lawful(world)


def m15_false_acks(seed: int) -> None:
    """A dark member is known dead although somebody else answers in its stead, in one form or another, to every probe."""
    random, world, made = begun(seed, 4, 7, (0.0,))
    victim = made[-1]
    world.cut_power(victim)
    form = random.randrange(3)

    def answer(number: int) -> Message:
        return (Ack(number, 0), Confirmed(number, victim.session), Ack(number + 1, 0))[form]

    def forge(sender: Process, session: bytes, message: Message) -> None:
        if isinstance(message, Ping) and session == victim.session:
            liar = random.choice([p for p in made[:-1] if p is not sender])
            world.later(MS, lambda: world.hear(sender, liar, answer(message.sequence), Nack(message.sequence + 1, True)))

    world.tap = forge
    longest = world.profile.suspicion(len(made))[1]
    world.run_until(lambda: world.known_as(victim.name, State.DEAD), longest + 2 * len(made) * SECOND)
    assert world.false_deaths == []
    lawful(world)


def m16_turns(seed: int) -> None:
    """Every member is probed by every other within 2N-1 periods, newcomers too."""
    random, world, made = begun(seed, 3, 6, (0.0,))
    newcomer = world.start("new", SEEDS)
    world.run(random.randrange(SECOND, 3 * SECOND))
    world.run_until(world.converged, 5 * SECOND)
    settled = world.now
    everyone = [*made, newcomer]
    bound = (2 * len(everyone) - 1) * world.profile.probe_interval
    world.run(3 * bound)
    for p in everyone:
        for q in everyone:
            if p is not q:
                times = [settled, *(at for at in world.pings.get((p.name, q.name), []) if at >= settled), world.now]
                assert max(b - a for a, b in pairwise(times)) <= bound, (p.name, q.name)


def m17_addresses(seed: int) -> None:
    """Who says that it is where nobody could reach it is refused, and says why."""
    random, world, _ = begun(seed, 2, 3, (0.0,))
    port = random.randrange(1, 65_536)
    hosts = ("0.0.0.0", "[::]", "[0:0:0:0:0:0:0:0]", "[::0]", "224.0.0.1", "[ff02::1]", "255.255.255.255")
    address = random.choice([f"{host}:{port}" for host in hosts] + ["10.0.0.9:0", "nowhere", ":7000"])
    wild = world.start("wild", SEEDS, address=address)
    world.run(12 * SECOND)
    assert isinstance(wild.error, AddressRefusedError), address
    assert all(p.part.get("wild") is None for p in world.living())


def m18_floods(seed: int) -> None:
    """A member floods another with whatever there is; every table of what is under way stays within its cap."""
    random, world, made = begun(seed, 3, 4, (0.0,))
    target, liar = made[0], made[1]
    world.cut_power(made[2])
    stamp = liar.part.identity.boot.stamp
    for number in range(1_200):
        name = f"fake{random.randrange(300)}"
        entry = Entry(
            name, WireBoot(random.choice([stamp, 1 << 60]), name.encode().ljust(16, b"\0")), random.choice([0, LARGEST]),
            random.randrange(4), f"10.1.0.{random.randrange(1, 250)}:7000", (),
        )  # fmt: skip
        message: Message = random.choice([News(entry, None), News(entry, liar.name), PingRequest(number, made[2].session)])
        world.hear(target, liar, message)
    armed = [timer[0] for timer in target.timers if isinstance(timer, tuple)]
    caps = {"relay": MAX_RELAYS, "check": MAX_CHECKS, "probe": MAX_PROBES, "verdict": MAX_PROBES}
    for kind, cap in caps.items():
        assert armed.count(kind) <= cap, kind
    assert target.part.stats()["rumours"] <= MAX_SUBJECTS
    assert all(p.part.get(name) is not None for p in made[:2] for name in (made[0].name, made[1].name))


def m20_whole_again(seed: int) -> None:
    """Two sides part just for so long that each begins to call the other dead; then nobody is called dead by its own side."""
    random, world, made = begun(seed, 4, 12, (0.0,))
    side = {p.name: i % 2 for i, p in enumerate(random.sample(made, len(made)))}
    world.blocked = lambda one, other: side[one.name] != side[other.name]
    world.run(random.randint(5_000, 13_000) * MS)
    world.blocked = lambda one, other: False
    world.run_until(world.converged, 4 * world.profile.redial_last)
    world.run(20 * SECOND)
    assert world.converged()
    assert [death for death in world.false_deaths if side[death[1]] == side[death[2]]] == []
    lawful(world)


STORIES = {
    "M3": m3_restarts,
    "M4": m4_poison,
    "M8": m8_partition,
    "M9": m9_bad_links,
    "M10": m10_pauses,
    "M11": m11_half_die,
    "M12": m12_wall_jumps,
    "M13": m13_leaves,
    "M14": m14_two_holders,
    "M15": m15_false_acks,
    "M16": m16_turns,
    "M17": m17_addresses,
    "M18": m18_floods,
    "M20": m20_whole_again,
}
