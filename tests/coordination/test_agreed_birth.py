"""Founding: exactly n names, one roster, learned by everyone later."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from coordination.agreed.rosters.birth import Birth
from coordination.agreed.rosters.birth_round import PROPOSAL_LASTS, STAGGER, BirthRound
from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.birth_messages import (
    BirthAccept,
    BirthAccepted,
    BirthPrepare,
    BirthPromise,
    BirthRefused,
    RosterIs,
)
from coordination.agreed.vocabulary.roster import found
from crdt.clock import Instant
from mesh.directives import Boot, Directive, Message, Send, Source
from tests.coordination.agreed_world import MS, PARAMETERS, Changes, S, Violation, World
from tests.coordination.roster_campaign import ELASTIC, RosterWorld


def rosters(world: World) -> set[tuple[str, ...]]:
    found = set()
    for node in world.nodes.values():
        if node.parts is not None and node.parts.birth.roster is not None:
            found.add(node.parts.birth.roster.voters)
    return found


def test_three_found_one_roster_under_loss() -> None:
    for seed in range(30):
        world = World(seed, loss=0.3 if seed % 2 else 0.0)
        assert world.run_until(world.founded, 30 * S), seed
        assert rosters(world) == {("n0", "n1", "n2")}


def test_five_of_five_and_clients_learn_but_do_not_found() -> None:
    world = World(3, voters=5, clients=2)
    assert world.run_until(world.founded, 30 * S)
    assert rosters(world) == {("n0", "n1", "n2", "n3", "n4")}


def test_nothing_is_founded_without_all_n() -> None:
    world = World(4)
    world.crash("n2")
    world.run(20 * S)
    assert rosters(world) == set()
    world.start("n2", fresh=True)
    assert world.run_until(world.founded, 20 * S)


def test_eighty_founders_do_not_wait_for_each_other_once_the_last_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordination.agreed.rosters.birth.CALLS_QUICK", 0)  # they have been waiting for long
    world = World(6, voters=80, thin=0, clients=0)
    world.crash("n79")
    world.run(4 * S)
    assert rosters(world) == set()
    world.start("n79", fresh=True)
    assert world.run_until(world.founded, 5 * S)


def test_a_founder_that_restarts_while_founding_does_not_fork_it() -> None:
    for seed in range(40):
        world = World(seed, loss=0.1)
        for turn in range(3):
            name = f"n{(seed + turn) % 3}"
            world.run((seed % 7 + 1) * S // 40)
            world.crash(name)
            world.run(S // 50)
            world.start(name, fresh=True)
        assert world.run_until(world.founded, 60 * S), seed
        assert len(rosters(world)) == 1
        assert not [event for _, _, event in world.log if isinstance(event, events.RosterConflict)]


def test_fresh_exempts_only_in_the_own_birth() -> None:
    world = World(5)
    assert world.run_until(world.founded, 20 * S)
    node = world.nodes["n1"]
    assert node.parts is not None
    assert node.parts.birth.abstaining_until(world.instant(node)) is None
    world.crash("n1")
    world.start("n1", fresh=True)
    started = world.instant(node).mono
    assert world.run_until(world.founded, 20 * S)
    assert node.parts is not None
    until = node.parts.birth.abstaining_until(world.instant(node))
    assert until is not None and until - started == 3 * S, "it found a roster: M from its start, whatever was said"
    world.run(4 * S)
    assert node.parts.birth.abstaining_until(world.instant(node)) is None


def test_founders_abstain_unless_fresh() -> None:
    world = World(6, fresh=False)
    assert world.run_until(world.founded, 20 * S)
    for node in world.nodes.values():
        assert node.parts is not None
        assert node.parts.birth.abstaining_until(world.instant(node)) is not None


def test_who_hears_of_its_founding_from_a_chain_first_is_a_founder_all_the_same() -> None:
    """The proposer's own word is lost to both others. Else both would have forgotten, and wait for each other for ever."""
    world = RosterWorld(8, parameters=ELASTIC)
    world.lose = lambda number, a, to, message: isinstance(message, RosterIs)
    assert world.run_until(world.founded, 20 * S)
    for node in world.nodes.values():
        assert node.parts is not None
        assert node.parts.birth.abstaining_until(world.instant(node)) is None, node.name
        assert node.parts.succession.votes(), node.name
    world.acquire("n0", "lock/a")
    assert world.run_until(lambda: world.grants > 0, 2 * S)


class Twice(BirthRound):
    """Goes on with a round though its own node has promised to another proposer."""

    __slots__ = ()

    def overtaken(self, ballot: Ballot, voters: Sequence[str], now: Instant) -> None:
        pass


class Hasty(BirthRound):
    """Leaves no time to whom it has promised."""

    __slots__ = ()

    def overtaken(self, ballot: Ballot, voters: Sequence[str], now: Instant) -> None:
        super().overtaken(ballot, voters, now)
        self._yields_until = 0


def decided_twice(changes: Changes = ()) -> RosterWorld:
    """n1 has gone on to an own proposal, which all have accepted, when its acceptance of n0's comes there. Of what n0 decides
    by it only a member hears, before n1 decides, too."""
    late: list[Message] = []
    waiting = True

    def lose(number: int, a: str, to: str, message: Message) -> bool:
        if isinstance(message, BirthAccepted) and waiting:
            if (a, to) == ("n1", "n0"):
                late.append(message)
            return (a, to) in (("n1", "n0"), ("n2", "n1"))
        if births[0].roster is not None and births[1].roster is None and a in ("n0", "n3") and to != "n3":
            return True
        return isinstance(message, BirthRefused) and to == "n0"

    world = RosterWorld(2, voters=3, clients=1, latency=(MS, MS), parameters=ELASTIC, faults=changes)
    world.lose = lose
    births = [node.parts.birth for node in world.nodes.values() if node.parts is not None]
    births[2]._round._propose_at = 1 << 62  # it proposes nothing

    def accepted() -> bool:
        return all(birth._accepted.name == "n1" for birth in births[:3])

    assert world.run_until(lambda: bool(late), 10 * S) and world.run_until(accepted, 4 * S)
    assert not any(birth.roster for birth in births), "it proves nothing"
    node, teller = world.nodes["n0"], world.nodes["n1"]
    source = Source(teller.boot.session, "", "n1", teller.boot, None)
    world.perform(node, births[0], births[0].on_message(late[0], source, world.instant(node)))
    world.run(5 * MS)
    waiting = False
    assert world.run_until(world.founded, 10 * S)
    world.run(S)
    assert len({birth._standing.origin for birth in births}) == 1
    return world


def test_what_one_has_decided_no_other_one_decides_again() -> None:
    """An elastic mesh is known by the ballot that founded it: one roster under two of them would be two meshes."""
    decided_twice(((BirthRound, Hasty),))
    with pytest.raises(Violation, match="L11"):
        decided_twice(((BirthRound, Twice),))


@pytest.mark.parametrize("higher", [True, False])
def test_who_accepts_another_proposal_gives_its_own_round_up(higher: bool) -> None:
    """Also if it was an earlier process of its name that promised. A lower one it refuses, and goes on."""
    world = World(2, clients=0, latency=(MS, MS))
    world.lose = lambda number, a, to, message: isinstance(message, BirthPromise)
    node = world.nodes["n0"]
    assert node.parts is not None
    birth = node.parts.birth
    assert world.run_until(lambda: birth._round.ballot is not None and birth._promised.name == "n0", 10 * S)
    own = birth._round.ballot
    assert own is not None
    ballot = own._replace(counter=own.counter + (1 if higher else -1), name="n1")
    accept = BirthAccept(ballot, found(("n0", "n1", "n2"), PARAMETERS))
    (answer,) = birth.on_message(accept, Source(b"", "", "n1", None, None), world.instant(node))
    assert isinstance(answer, Send) and isinstance(answer.message, BirthAccepted if higher else BirthRefused)
    assert birth._round.ballot == (None if higher else own)


def test_thirty_founders_do_not_outbid_each_other() -> None:
    def longest(changes: Changes = ()) -> int:
        worlds = [World(seed, voters=30, loss=0.02, latency=(MS, 20 * MS), faults=changes) for seed in range(6)]
        assert all(world.run_until(world.founded, 120 * S) for world in worlds)
        return max(world.now for world in worlds)

    assert longest() < 1500 * MS
    assert longest(((BirthRound, Hasty),)) > 1500 * MS


class Impatient(BirthRound):
    """Tries again soon though others have a set of their own to found."""

    __slots__ = ()

    def on_promise(self, promise: BirthPromise, now: Instant, out: list[Directive]) -> None:
        under_way = self._ballot
        super().on_promise(promise, now, out)
        if under_way is not None and self._ballot is None:
            self._yields_until = 0
            self._retreat(now)


def founded_beside_an_outsider(seed: int, changes: Changes) -> int:
    """Of five three found, n1 to n3; n1 alone has accepted that, and has promised to n0 since. ns until they have founded."""
    world = World(seed, voters=5, clients=0, expect=3, latency=(MS, MS), faults=changes)
    world.crash("n0")
    world.lose = lambda number, a, to, message: isinstance(message, BirthAccept)
    parts = world.nodes["n1"].parts
    assert parts is not None
    birth = parts.birth
    assert world.run_until(lambda: birth._accepted.name == "n1", 20 * S)
    world.start("n0", fresh=True)
    assert world.run_until(lambda: birth._promised.name == "n0", 20 * S)
    began, world.lose = world.now, None
    assert world.run_until(world.founded, 20 * S) and rosters(world) == {("n1", "n2", "n3")}
    return world.now - began


def test_a_founder_that_comes_late_leaves_those_the_time_that_have_accepted_a_set_without_it() -> None:
    bound = PROPOSAL_LASTS + 3 * STAGGER
    assert max(founded_beside_an_outsider(seed, ()) for seed in range(6)) < bound
    assert max(founded_beside_an_outsider(seed, ((BirthRound, Impatient),)) for seed in range(6)) > bound


def test_a_founder_is_not_counted_for_two_processes() -> None:
    """n0's proposal is decided by n1's late acceptance, while n1 has gone on to an own one, which all have accepted. (n0 would
    have given its round up: each rule has to hold without the other.) Then n2, whose acceptance of that one was lost, forgets
    both, and accepts n1's again: it would be decided, too, and what n2 has voted on would be lost."""
    held: list[Message] = []
    again = False

    def lose(number: int, a: str, to: str, message: Message) -> bool:
        if isinstance(message, BirthAccepted):
            if (a, to) == ("n1", "n0") and message.ballot.name == "n0":
                held.append(message)
                return True
            return (a, to) == ("n2", "n1") and not again
        if isinstance(message, BirthAccept) and held:
            return (a, to) == ("n0", "n1")
        return (isinstance(message, BirthRefused) and to == "n0") or (isinstance(message, RosterIs) and to == "n1")

    def birth(name: str) -> Birth:
        parts = world.nodes[name].parts
        assert parts is not None
        return parts.birth

    def both() -> bool:
        return all(any(ballot.name == "n1" for ballot in birth(name)._accepted_here) for name in ("n0", "n1", "n2"))

    world = World(2, clients=1, latency=(MS, MS), faults=((BirthRound, Twice),))
    world.lose = lose
    assert world.run_until(lambda: bool(held), 10 * S) and world.run_until(both, 3 * S)
    world.run(2 * MS)
    node, teller = world.nodes["n0"], world.nodes["n1"]
    source = Source(teller.boot.session, "", "n1", teller.boot, None)
    world.step(
        node, node.boot, lambda: world.perform(node, birth("n0"), birth("n0").on_message(held[0], source, world.instant(node)))
    )
    world.run(5 * MS)
    assert birth("n0").roster and birth("n2").roster and not birth("n1").roster, "it proves nothing"
    for near in ("n0", "n3"):
        for far in ("n1", "n2"):
            world.cut(near, far)
    world.crash("n2")
    world.run(5 * MS)
    again = True
    world.start("n2", fresh=True)
    world.run(2 * S)
    assert birth("n1").roster is None and birth("n2").roster is None, "what the first n2 voted on is lost"
    world.lose = None
    world.heal()
    assert world.run_until(world.founded, 10 * S)


@pytest.mark.parametrize("among", [True, False])
def test_whoever_is_to_accept_another_set_has_promised_before(among: bool) -> None:
    """Of five that may found three found. n1 has accepted a set with n3, which was not asked: n3 may have accepted a higher one
    with n2, that n2 has forgotten. Both would be decided. And who is not of the highest set leaves it to those that are."""
    world = World(2, latency=(MS, MS))
    sent: list[tuple[str, Message]] = []

    def lose(number: int, a: str, to: str, message: Message) -> bool:
        if a == "n0" and isinstance(message, BirthPrepare | BirthAccept):
            sent.append((to, message))
        return isinstance(message, BirthPromise | BirthPrepare | BirthAccept)

    world.lose = lose
    node = world.nodes["n0"]
    assert node.parts is not None
    birth = node.parts.birth
    assert world.run_until(lambda: birth._round.ballot is not None, 10 * S)
    ballot = birth._round.ballot
    assert ballot is not None

    def promised(name: str, accepted: Ballot = ZERO, voters: tuple[str, ...] = ()) -> list[tuple[str, type[Message]]]:
        boot = world.nodes[name].boot if name in world.nodes else Boot(1, name.encode())
        promise = BirthPromise(ballot, name, boot, accepted, found(voters, PARAMETERS) if voters else None)
        source = Source(boot.session, "", name, boot, None)
        done = birth.on_message(promise, source, world.instant(node))
        return [(str(each.to), type(each.message)) for each in done if isinstance(each, Send)]

    low, high, highest = (ballot._replace(counter=0, name=name) for name in ("n1", "n3", "n4"))
    assert not promised("n0") and not promised("n2")
    assert promised("n1", low, ("n0", "n1", "n3")) == [("n3", BirthPrepare)]
    sent.clear()
    world.run(S)
    assert sent and {(to, type(message)) for to, message in sent} == {("n3", BirthPrepare)}, "it is asked again"
    assert promised("n3", high, ("n0", "n3", "n4")) == [("n4", BirthPrepare)]
    if among:
        assert promised("n4", high, ("n0", "n3", "n4")) == [(name, BirthAccept) for name in ("n0", "n3", "n4")]
    else:
        assert not promised("n4", highest, ("n2", "n3", "n4"))
        assert birth._round.ballot is None, "it is none of those that are asked to promise"


def test_one_without_network_never_abstains() -> None:
    world = World(7, voters=1, fresh=False)
    node = world.nodes["n0"]
    assert node.parts is not None and node.parts.birth.roster is not None
    assert node.parts.birth.abstaining_until(world.instant(node)) is None


def test_of_two_founders_one_that_restarts_does_not_found_with_a_third_while_the_other_one_is_cut_off() -> None:
    """Three may found with n=2; the third one starts when two have founded. Nobody that it reaches knows of that."""
    world = World(3, voters=3, clients=0, expect=2)
    assert world.run_until(lambda: len(rosters(world)) == 1, 10 * S)
    (voters,) = rosters(world)
    (third,) = set(world.nodes) - set(voters)
    world.run(S)
    assert world.founded()
    world.isolate(voters[0])
    for name in (voters[1], third):
        world.crash(name)
        world.run(S)
    for name in (voters[1], third):
        world.start(name, fresh=True)
    world.run(10 * S)
    assert rosters(world) == {voters}, "a second mesh"
    world.heal()
    assert world.run_until(world.founded, 10 * S)
    assert rosters(world) == {voters}


def test_an_acceptance_that_comes_too_late_does_not_count() -> None:
    """Those that gave it may have restarted since, all of them, and have founded another mesh."""
    world = World(2, clients=0, latency=(MS, MS))
    held: list[Message] = []

    def lose(number: int, a: str, to: str, message: Message) -> bool:
        if isinstance(message, BirthAccepted) and (a, to) == ("n1", "n0"):
            held.append(message)
            return True
        return False

    world.lose = lose
    assert world.run_until(lambda: bool(held), 10 * S)
    world.run(5 * MS)
    world.isolate("n0")
    node, teller = world.nodes["n0"], world.nodes["n1"]
    assert node.parts is not None
    birth = node.parts.birth
    world.run(1500 * MS)
    assert birth._round.ballot is not None and birth._round._accepts.keys() == {"n0", "n2"}, "it proves nothing"
    source = Source(teller.boot.session, "", "n1", teller.boot, None)
    assert not birth.on_message(held[0], source, world.instant(node)) and birth.roster is None
