"""Bugs that the world found, on the parts themselves: each with the campaign and seed that showed it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from crdt.cell import KEY, Cell, encode_cell
from crdt.clock import HybridClock, Instant, make_stamp
from crdt.store import Store
from mesh.directives import Boot, Send, Source
from mesh.replication import Replication
from mesh.replication.messages import Chunk, Push, Pushed

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
