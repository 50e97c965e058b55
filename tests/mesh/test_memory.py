"""What a node remembers: batches, what waits for them, and what comes of failures."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.clock import Instant
from mesh.directives import (
    Act,
    Arm,
    Boot,
    Directives,
    Emit,
    Event,
    Message,
    Persist,
    Source,
    StoreFailing,
    StoreRestored,
)
from mesh.keyring import Keyring
from mesh.memory import HELD_CAP, STALLED, Memory
from mesh.node import Node
from mesh.outputs import Commit, Output, Publish
from mesh.records import DamagedRecordError, NewerRecordError, RecordKind
from mesh.wire import Length
from tests.mesh.sources import entropy

MS = 1_000_000


class Said(NamedTuple):
    what: str


class Told(Event):
    def __init__(self, what: str) -> None:
        self.what = what


class Self_:
    name = "a"
    boot = Boot(1, bytes(16))
    address = "10.0.0.1:7946"


class Quiet:
    messages: tuple[type[Message], ...] = ()
    hears: tuple[type[Event], ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.rung: list[Hashable] = []

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        return ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        self.rung.append(timer)
        return ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        return ()

    def stats(self) -> dict[str, int]:
        return {}


class Rig:
    """A node with two parts and a memory, and what it tells."""

    def __init__(self, memory: Memory | None) -> None:
        self.one, self.other = Quiet("one"), Quiet("other")
        self.node = Node(Self_(), Keyring.without_secret(), entropy("rig"), (self.one, self.other), memory=memory)
        self.mono = 0

    def now(self) -> Instant:
        return Instant(self.mono, self.mono, 0)

    def answers(self, *directives: object, part: Quiet | None = None) -> list[object]:
        """What the driver is to do after a part answered so."""
        self.node.command(part or self.one, directives, self.now())  # type: ignore[arg-type]
        return self.told()

    def told(self) -> list[object]:
        return [shown(output) for output in self.node.take()]

    def committed(self, number: int) -> list[object]:
        self.node.on_committed(number, self.now())
        return self.told()

    def failed(self, number: int, error: str = "full") -> list[object]:
        self.node.on_commit_failed(number, error, self.now())
        return self.told()


def shown(output: Output) -> object:
    if isinstance(output, Publish):
        return output.event.what if isinstance(output.event, Told) else type(output.event)
    if isinstance(output, Commit):
        return output.number, [(key, value) for _, key, value in output.records]
    return output


def put(key: bytes, value: bytes | None = b"1") -> Persist:
    return Persist((("table", key, value),))


def say(what: str) -> Emit:
    return Emit(Told(what))


def test_what_follows_waits_and_batches_follow_each_other() -> None:
    """The table of the module's own docstring."""
    rig = Rig(Memory())
    assert rig.answers(put(b"a"), say("1")) == [(1, [(b"a", b"1")])]
    assert rig.answers(put(b"b"), say("2")) == []
    assert rig.answers(put(b"c"), say("3")) == []
    assert rig.answers(say("4")) == ["4"]
    assert rig.answers(Persist(), say("5")) == []
    assert rig.committed(1) == ["1", (2, [(b"b", b"1"), (b"c", b"1")])]
    assert rig.committed(2) == ["2", "3", "5"]
    assert rig.answers(Persist(), say("6")) == ["6"], "nothing is under way, so a barrier costs nothing"


def test_what_precedes_and_what_others_say_does_not_wait() -> None:
    rig = Rig(Memory())
    mine, its = (put(b"a"), say("mine")), (say("its"),)
    assert rig.answers(say("before"), *mine) == ["before", (1, [(b"a", b"1")])]
    assert rig.answers(say("x"), part=rig.other) == ["x"]
    assert rig.answers(Act(rig.other, mine), *its) == ["its"], "another part's list waits for its own records alone"
    assert rig.committed(1) == ["mine", (2, [(b"a", b"1")])]
    assert rig.committed(2) == ["mine"]


def test_timers_are_set_at_once() -> None:
    """Held, an older time would take the place of a newer one, and the part would sleep too long."""
    rig = Rig(Memory())
    rig.answers(put(b"a"), Arm("t", 100))
    rig.answers(Arm("t", 50))
    rig.committed(1)
    assert rig.node.due() == 50


def test_what_is_in_an_act_takes_no_newer_one_s_place() -> None:
    """What another part is made to write is as old as the rest of the list, and so are its timers."""
    rig = Rig(Memory())
    act = Act(rig.other, (put(b"b", b"old"), Arm("t", 100), say("old")))
    assert rig.answers(put(b"a"), say("mine"), act) == [(1, [(b"a", b"1"), (b"b", b"old")])]
    assert rig.answers(put(b"b", b"new"), Arm("t", 50), say("new"), part=rig.other) == []
    assert rig.committed(1) == ["mine", "old", (2, [(b"b", b"new")])]
    assert rig.node.due() == 50
    assert rig.committed(2) == ["new"]


def test_what_is_in_an_act_waits_for_what_it_writes() -> None:
    rig = Rig(Memory())
    assert rig.answers(put(b"z")) == [(1, [(b"z", b"1")])]
    assert rig.answers(Persist(), Act(rig.other, (put(b"b"), say("told")))) == []
    assert rig.committed(1) == [(2, [(b"b", b"1")])]
    assert rig.committed(2) == ["told"]


def test_of_one_key_the_last_counts() -> None:
    rig = Rig(Memory())
    rig.answers(put(b"z"))
    rig.answers(put(b"a", b"old"), put(b"b"), say("said"), put(b"a", None))
    assert rig.committed(1) == [(2, [(b"a", None), (b"b", b"1")])]
    assert rig.committed(2) == ["said"]


def test_without_a_memory_nothing_waits() -> None:
    rig = Rig(None)
    assert rig.answers(put(b"a"), say("1"), Persist(), say("2")) == ["1", "2"]


def test_a_failed_batch_is_tried_again_with_what_came_since() -> None:
    memory = Memory()
    rig = Rig(memory)
    rig.answers(put(b"a"), put(b"b"), say("1"))
    rig.answers(put(b"a", b"2"), say("2"))
    assert memory.ready(rig.mono)
    assert rig.failed(1) == [StoreFailing]
    assert not memory.ready(rig.mono), "a voter must not promise what it cannot keep"
    assert rig.answers(say("x")) == ["x"], "and no attempt before its time"
    pauses = []
    for number in range(2, 8):
        due = rig.node.due()
        assert due is not None
        pauses.append((due - rig.mono) // MS)
        rig.mono = due
        rig.node.on_due(rig.now())
        assert rig.told() == [(number, [(b"a", b"2"), (b"b", b"1")])]
        if number < 7:
            assert rig.failed(number) == [], "it is told once"
    assert pauses == [100, 200, 400, 800, 1000, 1000]
    assert rig.committed(7) == [StoreRestored, "1", "2"]
    assert memory.ready(rig.mono)
    assert rig.node.stats()["node.failed_commits"] == 6


def test_a_disk_that_stands_still_is_not_ready() -> None:
    memory = Memory()
    rig = Rig(memory)
    rig.answers(put(b"a"))
    assert memory.ready(STALLED - 1)
    assert not memory.ready(STALLED)


def test_what_waits_is_bounded_by_those_who_ask() -> None:
    memory = Memory()
    rig = Rig(memory)
    for _ in range(HELD_CAP):
        assert memory.ready(rig.mono)
        rig.answers(put(b"a"), say("x"))
    assert not memory.ready(rig.mono)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 3), st.integers(0, 9)),
            st.tuples(st.just("bar"), st.just(0), st.just(0)),
            st.tuples(st.just("done"), st.booleans(), st.just(0)),
        ),
        max_size=60,
    )
)
def test_nothing_is_told_before_what_it_rests_on_is_durable(steps: list[tuple[str, int, int]]) -> None:
    """Any interleaving of records, barriers, commits and failures, against a disk."""
    memory = Memory()
    rig = Rig(memory)
    disk: dict[bytes, bytes | None] = {}
    meant: dict[bytes, bytes | None] = {}
    rests: dict[str, dict[bytes, bytes | None]] = {}
    told: list[str] = []
    under_way: list[tuple[int, list[tuple[bytes, bytes | None]]]] = []

    def hear(outputs: list[object]) -> None:
        for output in outputs:
            if isinstance(output, str):
                told.append(output)
                for key, value in rests[output].items():
                    assert disk.get(key, b"none") >= value, "it was told, and a crash now would forget it"  # type: ignore[operator]
            elif isinstance(output, tuple):
                assert not under_way, "one batch at a time"
                under_way.append(output)

    for count, (kind, key, _) in enumerate(steps):
        name = f"{count:04}"
        if kind == "put":
            meant[b"%d" % key] = name.encode()
            rests[name] = dict(meant)
            hear(rig.answers(put(b"%d" % key, name.encode()), say(name)))
        elif kind == "bar":
            rests[name] = dict(meant)
            hear(rig.answers(Persist(), say(name)))
        elif under_way:
            number, records = under_way.pop()
            if key:
                disk.update(records)
                hear(rig.committed(number))
            else:
                hear(rig.failed(number))
                rig.mono = rig.node.due() or rig.mono
                rig.node.on_due(rig.now())
                hear(rig.told())
    while under_way:
        number, records = under_way.pop()
        disk.update(records)
        hear(rig.committed(number))
    assert told == sorted(rests), "everything is told in the end, in order"
    assert disk == meant


# --- records --------------------------------------------------------------------------------------------------------------


class Old(NamedTuple):
    name: Annotated[str, Length(1, 8)]
    numbers: tuple[int, ...]


class New(NamedTuple):
    name: Annotated[str, Length(1, 8)]
    numbers: tuple[int, ...]
    more: int = 7


def test_records_say_their_version_and_grow_by_defaults() -> None:
    old, new, second = RecordKind(Old), RecordKind(New), RecordKind(Old, 2)
    value = Old("a", (1, -(1 << 70)))
    assert old.read(old.write(value)) == value
    assert new.read(old.write(value)) == New(*value)
    assert old.read(new.write(New("b", ()))) == Old("b", ())
    with pytest.raises(NewerRecordError, match="version 2, where 1"):
        old.read(second.write(value))


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x80", b"\x82\x01\x61a", b"\x83\x01\x60\x80", b"\x83\x01\x61a\x80x", b"\xff"])
def test_damaged_records_are_told_from_newer_ones(data: bytes) -> None:
    with pytest.raises(DamagedRecordError):
        RecordKind(Old).read(data)
