"""Cuts on whole nodes (C4, C7, C8, C13, C15, C18): what is deleted is forgotten by everyone, and nothing else is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from coordination.assembly import Assembly, Settings, build
from crdt.content import Content
from crdt.store import Store
from mesh.directives import Source
from mesh.replication import CELLS
from mesh.replication.applying import LAST_ROUND, LIFE_BITS
from mesh.replication.cut_messages import CutNews, JoinAsk, Welcome
from mesh.replication.standing import Standing
from simulations.checkers import WatchFold
from simulations.checkers.base import Violation
from simulations.checkers.resurrection import standing_of
from simulations.cluster import Cluster
from simulations.faults import Crash, Faults, Partition, Weather
from simulations.scenarios.forgetting import INTERVAL, often, run_forgetting, run_hostile, slots_of_the_dead
from simulations.scenarios.forgetting_plans import hostile_plan
from simulations.world import MS, SECOND, World


def cluster_of(seed: int, nodes: int, **more: Any) -> Cluster:
    cluster = Cluster(World(seed), nodes, make=partial(often, build), encoded=False, durable=True, **more)
    cluster.form()
    return cluster


KEPT = (CELLS, "replica")
"""What a node keeps of its store."""


def rounds(cluster: Cluster) -> list[int]:
    return [standing_of(peer).cut.round for peer in cluster.living()]


@pytest.mark.parametrize("seed", range(30))
def test_thirty_nodes_lose_and_undo_nothing_and_forget_everything_ended(seed: int) -> None:
    """Of each kind of trouble something, and all at once; at twice the pace of the campaign, in half of its time."""
    run = run_hostile(seed, writes=120, patience=SECOND)
    assert run.cuts >= 5 and run.lives > 0 and run.forgotten >= 30 and run.acks.acknowledged > 10 and run.wholeness.seen > 300
    assert run.world.now < 120 * SECOND


def test_the_mix_of_thirty_nodes_has_everything_in_it() -> None:
    """The plans above: each kind of trouble often, partitions of 20 times the patience, and every second datagram lost."""
    plans = [hostile_plan(seed, [f"n{n}" for n in range(30)], 3, 25 * SECOND, SECOND) for seed in range(30)]
    begun = Counter(type(fault).__name__ for plan in plans for fault in plan)
    assert {*begun} == {"WallStep", "Rate", "Weather", "Partition", "Crash", "OldDisk", "Pause"} and min(begun.values()) >= 15
    faults = [fault for plan in plans for fault in plan]
    assert sum(isinstance(fault, Partition) and fault.lasts == 20 * SECOND for fault in faults) >= 5
    assert sum(isinstance(fault, Weather) and fault.conditions.loss == 0.5 for fault in faults) >= 15
    assert sum(isinstance(fault, Crash) and fault.wipe for fault in faults) >= 10


@pytest.mark.parametrize("seed", range(4))
def test_five_nodes_at_the_pace_of_the_campaign(seed: int) -> None:
    """Here most of what happens happens to those who lead, vote and report."""
    run = run_hostile(seed, nodes=5, writes=200)
    assert run.cuts >= 5 and run.forgotten > 20 and run.acks.acknowledged > 10 and run.wholeness.seen > 50


@pytest.mark.parametrize("seed", [11, 28, 41, 65, 136])
def test_what_the_hostile_campaign_found_once(seed: int) -> None:
    """11: an ack for what was held aside. 28, 41: a leader that an open round had ended, and that nobody told. 65: the delete
    of a batch is forgotten, and an older write that nobody had seen outlives it, as documented. 136: a joiner that was ended
    before anybody had welcomed it."""
    run_hostile(seed, nodes=5, writes=200)


def test_a_write_behind_a_deletion_that_is_forgotten_and_does_not_say_so_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Content, "_lose", lambda self, cell: None)
    with pytest.raises(Violation, match="C13"):
        run_hostile(8, nodes=5, writes=200)


@pytest.mark.parametrize("seed", [65, 82, 109, 204])
def test_partitions_that_outlast_the_patience_of_the_mesh(seed: int) -> None:
    """Seeds in which a member is ended while it is cut off, returns and brings back what nobody had seen."""
    assert run_forgetting(seed).lives > 0


@pytest.mark.soak
@pytest.mark.parametrize("first", range(1_000, 1_500, 25))
def test_many_seeds(first: int) -> None:
    for seed in range(first, first + 25):
        run_forgetting(seed)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(4, 504, 25))
def test_many_seeds_of_five_nodes(first: int) -> None:
    for seed in range(first, first + 25):
        run_hostile(seed, nodes=5, writes=200)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, 500, 25))
def test_thirty_nodes(first: int) -> None:
    for seed in range(first, first + 25):
        run_hostile(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_a_day_leaves_stores_and_vectors_as_small_as_they_were(seed: int) -> None:
    cluster = Cluster(World(seed), 5, make=partial(often, build, interval=60 * SECOND, end_after=600 * SECOND), encoded=False)
    cluster.form()
    largest = 0
    for hour in range(24):
        for step in range(60):
            for peer in cluster.living():
                peer.put(f"{hour}/{step}/{peer.name}", step, ttl_ms=30_000)
                peer.delete(f"{hour}/{step - 1}/{peer.name}")
                peer.add("counter", 1)
            cluster.world.run(60 * SECOND)
        name = f"n{3 + hour % 2}"
        cluster.world.kill(name)
        cluster.world.boot(name)
        cluster.world.run(10 * SECOND)
        largest = max(largest, *[len(peer.store) for peer in cluster.living()])
    assert largest < 200, "tombstones pile up"
    for peer in cluster.living():
        assert len(peer.store.dots.summary().vector) <= 7
        assert len(slots_of_the_dead(peer)) == 0


def test_a_mesh_of_one_cuts_alone() -> None:
    def alone(settings: Settings, **more: Any) -> Assembly:
        return often(build, replace(settings, networked=False, seeds=()), **more)

    cluster = Cluster(World(1), 1, make=alone, encoded=False)
    cluster.form()
    (peer,) = cluster.living()
    peer.put("a", 1)
    peer.delete("b")
    cluster.world.run(4 * INTERVAL)
    assert rounds(cluster)[0] >= 3
    assert [cell.key for cell in peer.store.cells()] == ["a"]


def test_without_a_quorum_nothing_is_forgotten() -> None:
    cluster = cluster_of(2, 3)
    cluster.world.run(2 * INTERVAL)
    for name in ("n1", "n2"):
        cluster.world.kill(name)
    (peer,) = cluster.living()
    peer.delete("gone")
    before = rounds(cluster)
    cluster.world.run(60 * SECOND)
    assert rounds(cluster) == before
    assert peer.store.faded()


def test_a_newcomer_has_everything_before_it_writes_and_nothing_of_the_dead() -> None:
    cluster = cluster_of(3, 4)
    told = WatchFold(cluster)  # also of what it wrote before it had joined nothing is gone for a moment
    for peer in cluster.living():
        peer.put(peer.name, 1)
        peer.add("counter", 1)
    cluster.world.run(5 * INTERVAL)
    for _ in range(3):
        cluster.world.kill("n3")
        cluster.world.boot("n3")
        peer = cluster.peer("n3")
        peer.put("early", 2)
        peer.put("n1", 3)
        peer.add("counter", 1)
        cluster.world.run(5 * INTERVAL)
        assert peer.store.peek("n0") is not None and peer.store.peek("early") is not None
        assert told.changes > 0
        for other in cluster.living():
            assert other.store.peek("early") is not None
    cluster.world.run(5 * INTERVAL)
    for peer in cluster.living():
        assert peer.store.counter("counter") == 7
        assert len(peer.store.dots.summary().vector) <= 4
        assert not slots_of_the_dead(peer)


def test_a_rolling_restart_within_one_round_keeps_everything() -> None:
    """In the end nobody is left whom a cut counts: the next opening names who is."""
    cluster = cluster_of(4, 3)
    cluster.peer("n0").put("kept", 1)
    cluster.world.run(2 * INTERVAL)
    for peer in cluster.living():
        peer.assembly.rounds.interval = 600 * SECOND
    cluster.world.run(INTERVAL)
    for name in cluster.names:
        cluster.world.kill(name)
        cluster.world.boot(name)
        cluster.world.run(4 * SECOND)
    cluster.world.run(6 * INTERVAL)
    for peer in cluster.living():
        standing = standing_of(peer)
        assert standing.open and standing.cut.counts(standing.actor)
        assert peer.store.peek("kept") is not None


def test_after_a_restart_of_everyone_at_once_the_register_goes_on() -> None:
    """The cut in it counts nobody who lives, and nobody has applied it: its leader takes it over, the others join anew."""
    cluster = cluster_of(6, 4)
    cluster.world.run(4 * INTERVAL)
    before = max(rounds(cluster))
    for name in cluster.names:
        cluster.world.kill(name)
    cluster.world.run(SECOND)
    for name in cluster.names:
        cluster.world.boot(name)
    cluster.world.run(SECOND)
    for name in cluster.names:
        cluster.peer(name).put(f"by {name}", 1)
        cluster.peer(name).add("counter", 1)
    for _ in range(12):
        cluster.world.run(INTERVAL)
    assert min(rounds(cluster)) > before
    assert sum(peer.assembly.node.stats().get("replication.cuts_taken_over", 0) for peer in cluster.living()) == 1
    for peer in cluster.living():
        assert all(peer.store.peek(f"by {name}") is not None for name in cluster.names), peer
        assert peer.store.counter("counter") == 4


def test_whoever_the_open_round_has_ended_goes_on_when_all_others_have_died() -> None:
    """Two are cut off, and ended by a round that is never decided: everybody else dies, and comes back with nothing. What the
    two have is the only store that a cut had counted."""
    cluster = cluster_of(7, 5, expect=5)
    cluster.peer("n3").put("kept", 1)
    cluster.world.run(2 * INTERVAL)
    run = _cut_off(cluster, [Partition(0, 60 * SECOND, ("n3", "n4"))])
    ended = {standing_of(cluster.peer(name)).actor for name in ("n3", "n4")}
    others = [cluster.peer(name) for name in ("n0", "n1", "n2")]

    def opened() -> bool:
        openings = [peer.assembly.rounds.state.opening for peer in others]
        return any(opening and ended <= {end.actor for end in opening.ends} for opening in openings)

    assert cluster.world.run_until(opened, 60 * SECOND, SECOND // 10_000) is not None
    for peer in others:
        cluster.world.kill(peer.name)
        peer.process.disk.restore({table: rows for table, rows in peer.process.disk.snapshot().items() if table not in KEPT})
    for name in ("n3", "n4"):  # the leader's last words have reached them
        replication = cluster.peer(name).assembly.replication
        cluster.peer(name).perform(replication, replication.start_anew(cluster.peer(name).process.instant()))
    for peer in others:
        cluster.world.boot(peer.name)
    run.heal()
    cluster.peer("n4").put("meanwhile", 2)
    cluster.world.run(20 * INTERVAL)
    for peer in cluster.living():
        standing = standing_of(peer)
        assert standing.open and standing.cut.counts(standing.actor), peer
        assert all(peer.store.peek(key) is not None for key in ("kept", "meanwhile")), peer
    assert sum(standing_of(peer).counts["cuts_taken_over"] for peer in cluster.living()) >= 1


def test_readers_of_a_returning_member_see_its_old_store_until_it_has_the_new_one() -> None:
    cluster = cluster_of(5, 4)
    lone = cluster.peer("n3")
    lone.put("here", 1)
    cluster.world.run(3 * INTERVAL)
    faults = [Partition(0, 30 * SECOND, ("n3",))]
    run = _cut_off(cluster, faults)
    cluster.peer("n0").put("there", 2)
    lone.put("unseen", 3)
    for _ in range(120):
        cluster.world.run(SECOND // 2)
        assert lone.store.peek("here") is not None
    run.heal()
    cluster.world.run(10 * INTERVAL)
    assert standing_of(lone).life > 0
    for peer in cluster.living():
        assert all(peer.store.peek(key) is not None for key in ("here", "there", "unseen")), peer


def _cut_off(cluster: Cluster, faults: list[Partition]) -> Faults:
    running = Faults(cluster.world)
    running.set(faults)
    return running


# --- rules left out --------------------------------------------------------------------------------------------------


class GoesOnUncounted(Standing):
    """A cut that leaves this member out is applied all the same."""

    def start_anew(self, now: Any, out: list[Any]) -> None:
        self.counts["lives"] += 1


def early_writes(seed: int) -> list[str]:
    """What a member that restarts with its memory writes in its first moments, and others do not see though it is back."""
    cluster = cluster_of(seed, 4)
    cluster.world.run(3 * INTERVAL)
    for peer in cluster.living():
        peer.assembly.rounds.interval = 600 * SECOND
    cluster.world.run(INTERVAL)
    cluster.world.kill("n3")
    cluster.world.run(10 * MS)
    cluster.world.boot("n3")
    written = [f"early/{number}" for number in range(60)]
    for key in written:
        cluster.peer("n3").put(key, 1)
        cluster.world.run(MS)
    cluster.world.run(3 * SECOND)
    assert standing_of(cluster.peer("n3")).life == 1 and len(set(rounds(cluster))) == 1, "it has joined anew, and no cut helped"
    return [key for key in written if any(peer.store.peek(key) is None for peer in cluster.living())]


def test_what_a_member_writes_before_it_has_heard_that_it_is_to_join_anew_is_seen_at_once() -> None:
    for seed in range(4):
        assert not early_writes(seed)


def test_a_member_that_goes_on_sending_what_others_refuse_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Standing, "outdated", False)
    assert any(early_writes(seed) for seed in range(4))


@pytest.mark.parametrize("fault", [GoesOnUncounted])
def test_a_rule_that_is_left_out_is_found(fault: type[Standing], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordination.assembly.Standing", fault)
    with pytest.raises(Violation):
        for seed in range(40):
            run_forgetting(seed, bound=40 * SECOND)


def test_a_life_that_no_process_can_lead_is_counted_and_welcomes_nobody() -> None:
    cluster = cluster_of(4, 3)
    one, other = (cluster.peers[name] for name in ("n0", "n1"))
    source = Source(other.store.actor, other.process.address, "n1", other.assembly.identity.boot, None)
    now = one.process.instant()
    for life in (1 << LIFE_BITS, (1 << 63) - 1):
        assert list(one.assembly.replication.on_message(JoinAsk(life), source, now)) == []
    assert standing_of(one).stats()["impossible_lives"] == 2 and not standing_of(one).joiners
    assert [type(sent.message) for sent in one.assembly.replication.on_message(JoinAsk(1), source, now)] == [Welcome]  # type: ignore[union-attr]


def counted() -> list[int]:
    """A newcomer adds before it has joined; later it is restarted from its disk as it was then. At what the counter stands."""
    cluster = cluster_of(3, 4, expect=3)
    world = cluster.world
    world.run(4 * INTERVAL)
    Faults(world).set([Partition(0, 3 * SECOND, ("n3",))])
    world.run(MS)
    world.kill("n3", wipe=True)
    world.boot("n3")
    cluster.peer("n3").add("counter", 5)
    world.run(2 * SECOND)
    disk = world.machines["n3"].disk
    copied = disk.snapshot()
    world.run(4 * INTERVAL)
    assert cluster.peer("n0").store.counter("counter") == 5
    world.kill("n3")
    disk.restore(copied)
    world.boot("n3")
    world.run(12 * INTERVAL)
    assert len(cluster.living()) == 4
    assert not any(slots_of_the_dead(peer) for peer in cluster.living())
    return [peer.store.counter("counter") for peer in cluster.living()]


def test_what_a_newcomer_added_counts_once_though_an_old_disk_brings_it_back() -> None:
    """30 nodes, hostile, seed 134."""
    assert counted() == [5] * 4


def test_fault_moved_to_another_slot_it_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "kept", False)
    assert counted() == [10] * 4


def test_a_cut_whose_number_fits_no_mark_is_counted_and_changes_nothing() -> None:
    """A node that had applied one could send nothing any more (mutated frames, seed 12)."""
    cluster = cluster_of(4, 3)
    cluster.world.run(2 * INTERVAL)
    one, other = (cluster.peers[name] for name in ("n0", "n1"))
    source = Source(other.store.actor, other.process.address, "n1", other.assembly.identity.boot, None)
    cut = standing_of(one).cut
    far = cut._replace(round=LAST_ROUND + 1)
    assert not list(one.assembly.replication.on_message(CutNews(far), source, one.process.instant()))
    assert standing_of(one).cut == cut
    assert standing_of(one).stats()["impossible_rounds"] == 1
