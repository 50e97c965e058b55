"""What counts of a trace, however its lines are taken together; and what is left of a world that is over."""

from __future__ import annotations

from hashlib import blake2b
from marshal import dumps

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.directives import Event, Refused
from mesh.wire import PROTOCOL, Frame
from simulations.parcels import Parcel
from simulations.running import Scenario
from simulations.trace import RING, Line, Trace
from simulations.world import SECOND, World

PARCEL = Parcel(b"", b"", b"", 0, [], Frame(PROTOCOL, 0, [], 0, 0))
LINES = st.lists(
    st.builds(
        Line,
        st.integers(0, 1 << 60),
        st.text(max_size=4),
        st.text(max_size=4),
        st.text(max_size=9),
        st.one_of(st.just(b""), st.binary(max_size=9), st.just(Refused("a")), st.just(PARCEL)),
    ),
    max_size=600,
)


@given(LINES)
def test_lines_count_one_by_one_however_they_are_taken_together(lines: list[Line]) -> None:
    trace, hashed = Trace(), blake2b(digest_size=16)
    for at, machine, kind, text, data in lines:
        assert not isinstance(data, str)
        told = data if isinstance(data, bytes) else "" if isinstance(data, Parcel) else type(data).__name__
        line = (at, machine, kind, text, told)
        if isinstance(data, Event):
            trace.tell(at, machine, data)
            line = (at, machine, "event", "", told)
        else:
            trace.add(at, machine, kind, text, data)
        hashed.update(dumps(line, 2))
        assert Line(*line[:-1], data).digested() == dumps(line, 2)
    assert trace.digest() == hashed.hexdigest()
    assert trace.lines == len(lines)
    shown = [line.data.text if isinstance(line.data, Parcel) else line.data for line in lines]
    assert [line.data for line in trace.ring] == shown[-RING:], "an event counts by its class, and is kept itself"


def test_a_world_that_is_over_holds_nothing_that_waits_and_no_line() -> None:
    """And the result is there already: the digest, and of a violation the last lines."""
    worlds: list[World] = []

    def go(seed: int, plan: object, nodes: int, seen: object) -> dict[str, int]:
        world = World(seed)
        seen(world)  # type: ignore[operator]
        world.after(SECOND, world.trace.add, SECOND, "n0", "note", "this happens")
        world.after(9 * SECOND, pytest.fail)
        world.run(2 * SECOND)
        assert len(world.schedule) == 1
        raise ValueError("of no use")

    result = Scenario("some", "nothing", go, 1, 1, SECOND).run(7, [], seen=worlds.append)
    assert result.violation == "ValueError: of no use"
    assert "this happens" in result.trace
    assert result.lines == 1
    (world,) = worlds
    assert result.digest == world.trace.digest()
    assert (len(world.schedule), world.trace.ring) == (0, [])
    world.run(20 * SECOND)
