"""Shapes of latency: the quantiles that they should have, and the same numbers for ever."""

from __future__ import annotations

from hashlib import blake2b
from math import exp

import pytest

from simulations.dice import GOLDEN, mix
from simulations.network.latency import LogNormal, Pareto, Shape
from simulations.network.network import Conditions, Link
from simulations.world import MS, SECOND, World
from tests.simulated.fake import build_fakes

DRAWS = 20_000


def quantiles(shape: Shape) -> dict[float, float]:
    """Of many draws, ms."""
    drawn = sorted([shape.at(mix(number)) for number in range(DRAWS)])
    return {at: drawn[int(at * DRAWS)] / MS for at in (0.0, 0.1, 0.5, 0.9, 0.99)}


@pytest.mark.parametrize("sigma", [100, 500, 1_500])
def test_a_log_normal_latency_has_its_quantiles(sigma: int) -> None:
    found = quantiles(LogNormal(10 * MS, sigma))
    for at, z in [(0.1, -1.2816), (0.5, 0.0), (0.9, 1.2816), (0.99, 2.3263)]:
        assert found[at] == pytest.approx(10 * exp(z * sigma / 1_000), rel=0.1), at


@pytest.mark.parametrize("alpha", [1_000, 1_500, 3_000])
def test_a_pareto_latency_has_its_tail(alpha: int) -> None:
    found = quantiles(Pareto(10 * MS, alpha))
    assert 10 <= found[0.0] < 10.1
    for at in (0.1, 0.5, 0.9, 0.99):
        assert found[at] == pytest.approx(10 * (1 - at) ** (-1_000 / alpha), rel=0.1), at


@pytest.mark.parametrize("shape", [LogNormal(MS, 3_000, 5 * MS), Pareto(MS, 500, 5 * MS)])
def test_none_takes_longer_than_the_longest(shape: Shape) -> None:
    drawn = [shape.at(mix(number)) for number in range(2_000)]
    assert max(drawn) == 5 * MS
    assert drawn.count(5 * MS) < 1_000


def test_the_numbers_stay_what_they_are() -> None:
    """Whole numbers alone: whatever Python runs this gets the same, or old cases could not be replayed."""
    shapes = (LogNormal(3 * MS, 700), LogNormal(1, 5_000), Pareto(MS // 5, 1_200), Pareto(7, 100))
    drawn = [shape.at(mix(number)) for shape in shapes for number in range(500)]
    assert all(type(each) is int for each in drawn)
    assert blake2b(repr(drawn).encode(), digest_size=8).hexdigest() == "48b2412148ef4149"


def test_datagrams_and_streams_take_what_the_shape_says() -> None:
    world = World(1, conditions=Conditions(Pareto(10 * MS, 1_000)))
    nodes = build_fakes(world, "a", "b")
    a, b = nodes["a"], nodes["b"]
    begun = world.now
    for number in range(400):
        a.send(b.process.address, number.to_bytes(2, "big"))
    world.run(60 * SECOND)
    took = sorted([now.boot for kind, now, _ in b.seen if kind == "datagram"])
    first = b.process.instant().boot - world.now + begun
    assert len(took) == 400
    assert 10 * MS <= took[0] - first < 11 * MS
    assert took[200] - first == pytest.approx(20 * MS, rel=0.2)
    assert took[-1] - first > 500 * MS
    a.dial(1, b.process.address)
    assert world.run_until(lambda: bool(a.of("connected")), 10 * SECOND) is not None
    a.write(1, b"x")
    world.run(9 * MS)
    assert not b.of("stream")
    assert world.run_until(lambda: bool(b.of("stream")), 10 * SECOND) is not None


def test_what_links_draw_is_what_the_dice_say() -> None:
    """They do it themselves, for nothing is drawn so often."""
    link = Link(7, "a", "b")
    for n in range(1, 2_000):
        assert link.draw() == mix(link._key + n * GOLDEN)
    link.obey(Conditions(latency=(MS, 2 * MS), reorder=0.5, held=SECOND), False, 1)
    link_of_old = [MS + ((draw >> 32) * (MS + 1) >> 32) + held(mix(draw)) for draw in map(mix, range(2_000))]
    assert [link.delay(draw) for draw in map(mix, range(2_000))] == link_of_old and max(link_of_old) > 100 * MS


def held(again: int) -> int:
    """Half of the datagrams are held back."""
    return (again >> 32) * SECOND >> 32 if again & 0xFFFF < 0x8000 else 0
