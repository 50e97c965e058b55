"""A voter that missed a grant is told of it once it refuses a renewal: every lease is soon kept by all that are there."""

from __future__ import annotations

from collections import Counter

from coordination.agreed.vocabulary.messages import Mend, Prepare, Reason, RenewAnswer
from mesh.directives import Message, Source
from tests.coordination.agreed_world import MS, S, Worker, World
from tests.coordination.one_lock import KEY, group, held, live_at, ready

TTL = 3 * S


class Refusals:
    """Counts the renewals that each voter refused, and who was asked to mend; loses all that `two` say to each other."""

    def __init__(self, world: World, *two: str) -> None:
        self.refused: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.two = two
        world.lose = self

    def __call__(self, at: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, RenewAnswer):
            self.refused[a] += sum(result.reason != Reason.OK for result in message.results)
        elif isinstance(message, Mend):
            self.asked[b] += 1
        return a in self.two and b in self.two


def behind(world: World) -> Worker:
    """Granted by two voters, as any lock is that was used before; and the third has promised a higher ballot since."""
    for _ in range(3):
        world.command(held(world, "n3"), "release")
        world.run(30 * MS)
    worker = held(world, "n3", ttl=TTL)
    tried = world.acquire("n4", KEY, wait=False)
    assert world.run_until(lambda: tried.state == "busy", S)
    assert live_at(world, worker) == list(group(world)[:2]), "the third is behind"
    return worker


def test_a_voter_that_is_behind_is_mended_at_its_first_refusal() -> None:
    """(It refused each renewal for as long as the lease was held: it is never among the q that answer first, and what was
    completed for it was sent to the others.)"""
    world = ready(clients=2)
    owner, _, third = names = group(world)
    worker = behind(world)
    seen = Refusals(world)
    world.run(10 * S)
    assert live_at(world, worker) == list(names)
    assert +seen.refused == {third: 1} and seen.asked == {owner: 1}
    world.deaths_seen_after = 60 * S
    world.crash(owner)
    world.run(10 * S)
    assert worker.state == "held" and world.valid(worker)


def test_one_that_has_promised_another_proposer_more_is_mended_too() -> None:
    """The owner's prepare is refused there, and answered by the others: it goes above that promise at once."""
    world = ready(clients=2)
    _, second, third = names = group(world)
    worker = behind(world)
    node, parts = world.nodes[third], world.nodes[third].parts
    assert parts is not None
    register = parts.acceptor.register(KEY)
    assert register is not None
    boot = world.nodes[second].boot
    higher = register.promised._replace(counter=register.promised.counter + 5, name=second, boot=boot)
    ask = Prepare(KEY, higher, ())
    world.perform(
        node, parts.acceptor, parts.acceptor.on_message(ask, Source(boot.session, "", second, boot, None), world.instant(node))
    )
    seen = Refusals(world)
    world.run(TTL)
    assert live_at(world, worker) == list(names)
    assert +seen.refused == {third: 1}


def test_a_lease_outlives_its_silent_owner_before_anyone_sees_that_it_is_dead() -> None:
    """It dies before the voter that is behind has refused anything. (It was asked to mend that one until the lease was lost,
    and two of three voters were there.)"""
    world = ready(clients=2)
    owner, second, third = group(world)
    worker = behind(world)
    world.deaths_seen_after = 60 * S
    world.crash(owner)
    seen = Refusals(world)
    world.run(20 * S)
    assert worker.state == "held" and world.valid(worker) and live_at(world, worker) == [second, third]
    assert seen.asked[second] == 1, "it is the next in rank"
    other = world.acquire("n4", KEY, ttl=TTL)
    world.run(300 * MS)
    world.command(worker, "release")
    assert world.run_until(lambda: other.state == "held", 2 * S)


def test_whoever_answers_is_asked_though_another_one_was_before_it() -> None:
    """Only the holder does not hear of the owner, which lives: nothing is lost, and no two outbid each other for ever."""
    world = ready(clients=2)
    owner, _, third = names = group(world)
    worker = behind(world)
    seen = Refusals(world, owner, "n3")
    world.run(10 * S)
    assert worker.state == "held" and live_at(world, worker) == [name for name in names if name != owner]
    assert 1 <= seen.refused[third] <= 4


def test_what_is_said_to_be_behind_during_a_round_is_read_anew() -> None:
    """That round may have asked it earlier, or not have heard it. (The next refusal is a third of a ttl later.)"""
    world = ready(clients=2)
    names = group(world)
    owner = names[0]
    worker = behind(world)
    node, parts = world.nodes[owner], world.nodes[owner].parts
    assert parts is not None
    tried = world.acquire("n4", KEY, wait=False)
    world.run_until(lambda: (desk := parts.owner.desk(KEY)) is not None and desk.round is not None, S)
    world.run(MS // 2)
    world.perform(node, parts.owner, parts.owner.on_message(Mend(KEY), Source(b"", "", None, None, None), world.instant(node)))
    assert world.run_until(lambda: tried.state == "busy", S)
    world.run(20 * MS)
    assert live_at(world, worker) == list(names)
