"""Bugs that the world found, on the parts themselves: each with the campaign and seed that showed it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from crdt.cell import KEY, Cell, encode_cell
from crdt.clock import HybridClock, Instant, make_stamp
from crdt.dots import NOTHING
from crdt.store import Store
from mesh.directives import Arm, Boot, Disarm, Send, Source
from mesh.replication import Replication
from mesh.replication.messages import Announce, Chunk, Dot, Pull, Push, Pushed
from mesh.replication.pulling import ANSWER, REPEAT, REPEATS

WALL = 1_700_000_000_000


class View:
    def names_alive(self) -> Sequence[str]:
        return [f"n{number}" for number in range(9)]

    def session(self, name: str) -> bytes | None:
        return name.encode().ljust(16)


def test_a_forwarded_cell_claims_the_previous_dot_of_its_own_writer_only() -> None:
    """run_spreading, seed 188 (C5): a cell that was to be passed on was replaced, before its window ended, by one of another
    writer that came with a pull. It went out with the previous dot of the first, so receivers claimed a dot of the
    second writer, under another key, that they had never seen."""
    replication = Replication(Store(b"self".ljust(16)), HybridClock(), Random(1), View())
    one, other = b"one".ljust(16), b"other".ljust(16)
    now = Instant(1_000, 1_000, WALL)
    source = Source(b"n1".ljust(16), "10.0.0.1:1", "n1", Boot(1, b"n1".ljust(16)), None)

    def put(actor: bytes, n: int, ms: int) -> Cell:
        return Cell(KEY, "key", (0, make_stamp(WALL + ms), actor, 0, 0, b""), b"\x01", None, actor, n)

    replication.on_message(Push((Pushed(put(one, 7, 1), 2),)), source, now)
    replication.on_message(Chunk(1, (-1, ""), None, (put(other, 9, 2),), (KEY, "key"), True, True), source, now)
    sent = [each.message for each in replication.on_timer("flush", now) if isinstance(each, Send)]
    news = [pushed for message in sent if isinstance(message, Push) for pushed in message.news]
    assert {(pushed.cell, pushed.previous) for pushed in news} == {(encode_cell(put(other, 9, 2)), 0)}


def test_a_pull_that_is_not_answered_is_repeated() -> None:
    """run_spreading, seeds 76 and 144 (C15): under 20 % loss one replica lost every pull, or its answer, for 30 s, as each loss
    cost the two seconds that an answer may take."""
    replication = Replication(Store(b"self".ljust(16)), HybridClock(), Random(1), View())
    source = Source(b"n1".ljust(16), "10.0.0.1:1", "n1", Boot(1, b"n1".ljust(16)), None)

    def at(mono: int) -> Instant:
        return Instant(mono, mono, WALL + mono // 1_000_000)

    began = replication.on_message(Announce((Dot(b"one".ljust(16), 1),)), source, at(0))
    (pull,) = [each.message for each in began if isinstance(each, Send)]
    assert isinstance(pull, Pull)
    assert Arm("pull", REPEAT) in began
    for turn in range(1, REPEATS + 1):
        again = replication.on_timer("pull", at(turn * REPEAT))
        assert [each.message for each in again if isinstance(each, Send)] == [pull], "the same request, to the same process"
        assert Arm("pull", (turn + 1) * REPEAT) in again
    assert replication.on_timer("pull", at((REPEATS + 1) * REPEAT)) == [], "then another reason, or another member, goes on"
    assert REPEATS * REPEAT < ANSWER
    assert replication.stats()["pulls_repeated"] == REPEATS

    answer = Chunk(pull.pull, pull.after, NOTHING, (), (KEY, "key"), True, True)
    assert Disarm("pull") in replication.on_message(answer, source, at(ANSWER))
    assert replication.on_timer("pull", at(ANSWER + REPEAT)) == [], "it has been answered"
