"""Equal replicas exchange one small digest, whatever they hold and whoever has died (C8; DESIGN, figures)."""

from __future__ import annotations

from random import Random

import pytest

from crdt.cell import KEY, Cell
from crdt.clock import HybridClock, Instant
from crdt.dots import NOTHING
from crdt.store import Store
from mesh.directives import Directives, Send, Source
from mesh.replication import Replication
from mesh.replication.messages import Digest
from mesh.wire import encode

NOW = Instant(1_000_000_000, 1_000_000_000, 1_000_000)
DIGEST_BYTES = 32
"""Number, digest and fingerprint, and their heads."""


class Pair:
    """The view of one of two."""

    def names_alive(self) -> tuple[str, ...]:
        return ("other",)

    def session(self, name: str) -> bytes:
        return b"o" * 16


def actor(number: int) -> bytes:
    return number.to_bytes(16, "big")


def cells(keys: int, writers: int) -> list[Cell]:
    made = []
    for number in range(keys):
        writer, n = number % writers, number // writers + 1
        order = (0, (NOW.wall << 16) - 5, actor(writer + 1), 0, 0, b"")
        made.append(Cell(KEY, f"key/{number:06}", order, b"\x19\x10\x00", None, actor(writer + 1), n))
    return made


def replica(name: bytes, content: list[Cell]) -> Replication:
    store = Store(name * 16)
    store.restore(content, NOTHING, 1)
    replication = Replication(store, HybridClock(), Random(1), Pair())
    store.recount(1 << 40)
    return replication


def sends(directives: Directives) -> list[Send]:
    return [each for each in directives if isinstance(each, Send)]


@pytest.mark.parametrize(("keys", "writers"), [(0, 1), (1_000, 3), (1_000, 1_000), (100_000, 3)])
def test_one_digest_of_a_few_bytes_and_no_answer(keys: int, writers: int) -> None:
    content = cells(keys, writers)
    first, second = replica(b"a", content), replica(b"b", content)
    (sent,) = sends(first.on_timer("digest", NOW))
    assert isinstance(sent.message, Digest) and len(encode(sent.message)) <= DIGEST_BYTES
    source = Source(b"a" * 16, "127.0.0.1:1", "first", None, None)
    assert sends(second.on_message(sent.message, source, NOW)) == []
    second.store.remove(list(second.store.cells())[:1])
    answered = second.on_message(sent.message, source, NOW)
    assert bool(answered) == bool(keys), "two that differ must not pass for equal"
