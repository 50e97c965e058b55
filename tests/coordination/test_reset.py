"""Resets of the roster: in the small world under faults, beside planted faults, and over real sockets."""

from __future__ import annotations

import pytest
import trio

from coordination import BadConfig, Client, MeshConfig, NoQuorum, Peer, ResetRefused, connect, open_peer
from coordination.agreed.rosters.reset import judge
from coordination.agreed.vocabulary.events import Surveyed, Voter
from coordination.agreed.vocabulary.roster import RosterValue, found, reset_epoch
from coordination.commands.explain import described
from coordination.demo.programs import free_addresses
from tests.coordination.meshes import SECRET
from tests.coordination.reset_faults import RESET_FAULTS
from tests.coordination.reset_stories import (
    Story,
    accepted,
    both_sides,
    come_back,
    fresh_forgetters,
    gone_over,
    half_way,
    mistaken,
)
from tests.coordination.roster_campaign import ELASTIC
from tests.coordination.roster_stories import tell

STORIES: dict[Story, int] = {
    accepted: 3,
    both_sides: 2,
    gone_over: 2,
    half_way: 2,
    fresh_forgetters: 30,
    mistaken: 6,
}


@pytest.mark.parametrize(("story", "seeds"), STORIES.items())
def test_no_rule_is_broken_by_a_reset(story: Story, seeds: int) -> None:
    assert tell(story, range(seeds)) is None


def test_no_rule_is_broken_when_those_come_back_that_were_given_up() -> None:
    worlds = [come_back(seed, ()) for seed in range(12)]
    assert sum(any(epoch > 1 << 20 for epoch in world.decided) for world in worlds) >= 4, "it proves nothing"
    assert sum(world.grants for world in worlds) > 300


@pytest.mark.soak
@pytest.mark.parametrize("story", (come_back, *STORIES))
def test_no_rule_is_broken_by_a_reset_over_many_seeds(story: Story) -> None:
    assert tell(story, range(1_000, 1_300)) is None


@pytest.mark.parametrize("fault", RESET_FAULTS)
def test_planted_fault_is_caught(fault: str) -> None:
    planted = RESET_FAULTS[fault]
    assert tell(planted.story, range(planted.seeds), planted.changes) is not None, f"no checker noticed: {fault}"


# --- the conditions -------------------------------------------------------------------------------------------------------

FIVE = found(("a", "b", "c", "d", "e"), ELASTIC)


def survey(remember: str, forgot: str, roster: RosterValue = FIVE, newer: str = "") -> Surveyed:
    def of(name: str) -> Voter:
        return Voter(name, name in remember + forgot, name in remember, False, 0.0)

    return Surveyed(1, roster, tuple([of(name) for name in roster.voters]), newer)


@pytest.mark.parametrize(
    ("told", "without", "why"),
    [
        (survey("ab", "c"), "de", ""),
        (survey("", "abcde"), "", ""),
        (survey("ab", "c"), "d", "e does not answer: start it"),
        (survey("abc", ""), "de", "no reset is needed: a, b, c remember"),
        (survey("a", "b"), "cde", "only a, b of 5 voters answers, and 3 have to take part"),
        (survey("ab", "c"), "cde", "c answers, and cannot be given up"),
        (survey("ab", "c"), "dex", "not on the roster: x"),
        (survey("ab", "c", newer="b"), "de", "b knows a newer roster"),
        (survey("ab", "c", FIVE._replace(elastic=False)), "de", "the roster is fixed"),
        (Surveyed(1, None, (), ""), "", "no roster yet"),
    ],
)
def test_it_is_refused_with_what_is_to_be_done(told: Surveyed, without: str, why: str) -> None:
    refusal = judge(told, frozenset(without))
    assert refusal.find(why) >= 0 and bool(refusal) == bool(why)


def test_the_epoch_of_a_reset_is_above_all_that_may_have_followed() -> None:
    first = reset_epoch(1_700_000_000_000, b"a" * 16, 7)
    assert first > 7 + (1 << 40)
    assert reset_epoch(1_700_000_000_000, b"b" * 16, 7) != first
    assert reset_epoch(1_700_000_000_001, b"a" * 16, 7) > first + 1000
    assert reset_epoch(0, b"a" * 16, first + 3) > first + 1000, "also with a clock that is wrong"
    assert FIVE.may_be_reset_to(FIVE._replace(epoch=first, voters=("a", "c")))
    assert not FIVE.may_be_reset_to(FIVE._replace(epoch=first, voters=("a", "x"))), "others are admitted by changes"
    assert not FIVE.may_be_reset_to(FIVE._replace(epoch=2, voters=("a", "c"))), "that is a change"
    assert not FIVE.may_be_reset_to(FIVE._replace(epoch=first, R=3))


# --- real peers -----------------------------------------------------------------------------------------------------------


class Elastic:
    """Three founders of an elastic mesh, which keep nothing on disk; each may be started again."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.addresses = list(free_addresses(3))
        self.scopes: dict[str, trio.CancelScope] = {}
        self.ends: dict[str, trio.Event] = {}
        self.peers: dict[str, Peer] = {}

    async def start(self, name: str, *, fresh: bool = False) -> None:
        self.scopes[name], self.ends[name] = trio.CancelScope(), trio.Event()
        self.peers[name] = await self.nursery.start(self.run, name, fresh)

    async def run(self, name: str, fresh: bool, task_status: trio.TaskStatus[Peer]) -> None:
        opened = open_peer(
            name=name,
            bind=self.addresses[int(name[1:])],
            seeds=self.addresses,
            expect=3,
            secret=SECRET,
            fresh=fresh,
            profile="local",
            config=MeshConfig(elastic=True, max_ttl=2.0, max_drift=0.5),
        )
        with self.scopes[name]:
            async with opened as peer:
                task_status.started(peer)
                await trio.sleep_forever()
        self.ends[name].set()

    async def stop(self, name: str) -> None:
        self.scopes[name].cancel()
        await self.ends[name].wait()


async def refusal(of: Peer | Client) -> str:
    """What it is told that asks for a lock in vain."""
    with pytest.raises(NoQuorum) as told:
        await of.lock("l", ttl=2).acquire()
    return str(told.value)


async def test_a_mesh_whose_majority_forgot_is_reset_and_grants_again() -> None:
    async with trio.open_nursery() as nursery:
        mesh = Elastic(nursery)
        with trio.fail_after(150):
            for name in ("p0", "p1", "p2"):
                await mesh.start(name, fresh=True)
            async with mesh.peers["p0"].lock("l", ttl=2) as held:
                token = held.token
            with pytest.raises(ResetRefused, match="no reset is needed: p0, p1, p2 remember"):
                await mesh.peers["p0"].reset_roster()
            await mesh.stop("p1")
            await mesh.stop("p2")
            with pytest.raises(ResetRefused, match="p1, p2 does not answer"):
                await mesh.peers["p0"].reset_roster()
            with pytest.raises(ResetRefused, match="only p0 of 3 voters answers, and 2 have to take part"):
                await mesh.peers["p0"].reset_roster(["p1", "p2"])
            with pytest.raises(BadConfig, match="is one text"):
                await mesh.peers["p0"].reset_roster("p1")
            await mesh.start("p1")
            await mesh.peers["p1"].synced()
            with pytest.raises(NoQuorum):
                async with mesh.peers["p0"].lock("l", ttl=2):
                    pass
            await mesh.start("p2")
            await mesh.peers["p2"].synced()
            # On a busy machine a voter may answer too late, and is said to be silent.
            while "p1, p2, a majority of the voters, restarted without memory" not in await refusal(mesh.peers["p0"]):
                pass
            shown = ""
            while shown.count("serves nothing: it has forgotten what it promised") < 2:
                shown = "\n".join(described(await mesh.peers["p0"].explain("l")))
            assert "closed: p" in shown
            async with connect(mesh.addresses[0], secret=SECRET) as client:
                while "mesh reset-roster" not in await refusal(client):
                    pass
            await mesh.stop("p2")
            async with connect(mesh.addresses[0], secret=SECRET) as client:
                with pytest.raises(ResetRefused, match="p2 does not answer"):
                    await client.reset_roster()
                assert await client.reset_roster(["p2"]) == ("p0", "p1")
            while True:
                try:
                    async with mesh.peers["p1"].lock("l", ttl=2) as held:
                        assert held.token > token
                    break
                except NoQuorum:
                    pass  # the old leases have to run out
            found = await mesh.peers["p1"].explain("l")
            assert found.moved and found.epoch > 1 << 20 and [names for _, names, _ in found.rosters][-1] == ("p0", "p1")
            assert "(reset)" in "\n".join(described(found))
            await mesh.start("p2")
            async with mesh.peers["p2"].lock("l", ttl=2):
                pass
            nursery.cancel_scope.cancel()
