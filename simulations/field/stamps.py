"""Last writer wins, and who is last: equal stamps, and clocks that are ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crdt.clock import stamp_ms
from simulations.cluster import Build, SimPeer
from simulations.faults import Fault, Partition
from simulations.field.stage import GONE, Stage, build
from simulations.machine.clocks import EPOCH_MS
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["EQUAL_STAMPS", "SKEWED_CLOCK", "equal_stamps", "skewed_clock"]

DURATION = 15 * SECOND
HOUR_MS = 3_600_000
MAX_DRIFT_MS = 500


def equal_stamps(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """Two sides of a partition write one key under one and the same stamp: two puts, or a put and a delete. Which of them
    counts must be the same everywhere, whoever hears of which first: that of the higher actor."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    names = stage.cluster.names
    winners: dict[str, tuple[SimPeer, object, SimPeer]] = {}
    with stage.moment():
        for number in range(4):
            stage.peer("n0").put(f"tie/{number}", "before")
        stage.world.run(2 * SECOND)
        stage.faults.set([Partition(0, 6 * SECOND, tuple(names[: len(names) // 2]))])
        stage.world.run(10 * MS)
        for number in range(4):
            one, other = stage.peer(names[0]), stage.peer(names[-1])
            key, second = f"tie/{number}", GONE if number % 2 else "other"
            for _ in range(5):
                if _write_both(stage, one, other, key, second):
                    higher, lower = (one, other) if one.store.actor > other.store.actor else (other, one)
                    winners[key] = (higher, "one" if higher is one else second, lower)
                    stage.reached["delete_tied" if second is GONE else "puts_tied"] += 1
                    break
    stage.finish()
    for key, (higher, value, lower) in winners.items():
        if higher.process.alive and lower.process.alive and not stage.all_show(key, value):
            stage.fail("C9", f"of two writes of {key} at one stamp that of {higher} must count, {value!r}")
    return stage.done()


def _write_both(stage: Stage, one: SimPeer, other: SimPeer, key: str, second: object) -> bool:
    """Each side writes, the one whose clock is behind a little later; whether the stamps are equal."""
    stage.world.run(20 * MS)  # so that both clocks are at a new ms
    behind, ahead = (one, other) if _reads(one) <= _reads(other) else (other, one)
    first = _write(ahead, key, "one" if ahead is one else second)
    stage.until(lambda: stamp_ms(_reads(behind)) >= stamp_ms(first), SECOND, MS // 10)
    return _write(behind, key, "one" if behind is one else second) == first


def _write(peer: SimPeer, key: str, value: object) -> int:
    return peer.delete(key) if value is GONE else peer.put(key, value)


def _reads(peer: SimPeer) -> int:
    return peer.assembly.clock.read(peer.process.instant())


EQUAL_STAMPS = Scenario(
    "equal-stamps",
    "Cassandra (Jepsen, 2013): of two writes at one stamp a mixture stayed; here one wins, the same everywhere; C9, C15",
    equal_stamps, nodes=4, fewest=3, duration=DURATION, profile="calm", sometimes=("puts_tied", "delete_tied"),
)  # fmt: skip


def skewed_clock(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """A machine's clock is an hour ahead; its service starts and writes a key before it has learnt that from anybody. What the
    others write later must count, now and not in an hour; none of their clocks may follow it; and once it knows, its own
    writes are refused as the API refuses them (`ClockDrift`)."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    wrong = stage.dice.choice(stage.cluster.names[1:])
    machine = stage.world.machines[wrong]
    later, last = 0, ""
    with stage.moment():
        stage.peer("n0").put("limit", "before")
        stage.world.run(SECOND)
        machine.clocks.step_wall(HOUR_MS)
        ahead = stage.restart(wrong, stage.dice.choice((0, 1_000)) * MS)
        if ahead.assembly.clock.check() is None:
            stamp = ahead.put("limit", "from the future")
            stage.reached["wrote_ahead"] += stamp_ms(stamp) > _true_ms(stage) + MAX_DRIFT_MS
        stage.world.run(stage.dice.choice((100, 2_000)) * MS)
        for number in range(4):
            later, last = stage.peer("n0").put("limit", f"later {number}"), f"later {number}"
            if stamp_ms(later) > _true_ms(stage) + MAX_DRIFT_MS:
                stage.fail("C10", f"the clock of n0 is at {stamp_ms(later)} ms, the true time is {_true_ms(stage)} ms")
            stage.world.run(stage.dice.choice((500, 1_000)) * MS)
            if ahead.process.running and ahead.assembly.clock.check() is not None:
                stage.reached["writes_refused"] += 1
        stage.until(lambda: _others_show(stage, wrong, last), 3 * SECOND)
        stage.reached["later_write_counts"] += 1
        served = ahead.assembly.replication.stats().get("cells_served", 0)
        if stage.quiet and ahead.process.alive and served >= nodes:
            stage.fail("C11", f"{ahead} has served {served} cells, of one that the others refuse until it is due")
    stage.heal()
    if later:
        others = f"the write of n0 at {stamp_ms(later)} ms shows at all whose clocks are right"
        stage.must("C10", others, lambda: not _stands(stage) or _others_show(stage, wrong, last), 20 * SECOND)
    if machine.clocks.read(stage.world.now).wall > _true_ms(stage) + HOUR_MS // 2:
        machine.clocks.step_wall(-HOUR_MS)  # the operator sets it right, and starts the service again
        stage.world.kill(wrong)
    if stage.quiet:
        stage.finish()
    else:
        # A boot of the future that is remembered only by who cannot tell its name's next process of it is in the way of that
        # process for its hour: with clocks beyond their bounds the mesh promises no more than the above.
        stage.boot_all()
    return stage.done()


def _true_ms(stage: Stage) -> int:
    return EPOCH_MS + stage.world.now // MS


def _stands(stage: Stage) -> bool:
    """Whether n0, whose write must count, is the process that wrote it."""
    return stage.cluster.peers["n0"].process.boot == 1


def _others_show(stage: Stage, wrong: str, value: str) -> bool:
    return all(stage.shown(peer, "limit") == value for peer in stage.cluster.living() if peer.name != wrong)


SKEWED_CLOCK = Scenario(
    "skewed-clock",
    "Cassandra: a node an hour ahead won every conflict until its hour had come, later writes were silently lost; C10, C11",
    skewed_clock, nodes=4, fewest=3, duration=DURATION, profile="calm",
    sometimes=("wrote_ahead", "writes_refused", "later_write_counts"),
)  # fmt: skip
