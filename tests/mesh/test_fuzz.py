"""Corrupt, truncated, hostile and oversized frames of every type: no crash, no growth, no change (W4; deltas of the store)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

from coordination.agreed.vocabulary.messages import Mend
from crdt.cell import COUNTER, KEY, LEASE_END, Cell, CellError, cell_of, encode_cell
from mesh.directives import Source
from mesh.envelope import Sealed
from mesh.messaging.outbox import Arrivals, Numbered
from mesh.node import Node
from mesh.outputs import Publish, Transmit
from mesh.wire import MAX_FRAME_BYTES, Frame, WireError, encode, load, pack, unpack
from tests.mesh import fuzzing
from tests.mesh.fuzzing import HOSTILE, Victim, corpus, gentle, is_void, mutated
from tests.mesh.wire_values import full, product_messages

FRAMES = corpus()
GROWTH = 20_000
"""Things that a node holds more after some thousand valid messages of all types."""


@pytest.fixture(scope="module")
def victim() -> Victim:
    return Victim()


def remembers_what_is_malformed(patch: pytest.MonkeyPatch) -> None:
    frame = Node._frame

    def remembering(self: Node, plaintext: bytes, source: Source) -> None:
        self._contacts._strangers[plaintext] = None
        frame(self, plaintext, source)

    patch.setattr(Node, "_frame", remembering)


def overflows(patch: pytest.MonkeyPatch) -> None:
    def heard(self: Arrivals, message: Numbered) -> bool:
        message.least.to_bytes(4, "big")
        return True

    patch.setattr(Arrivals, "heard", heard)


def takes_what_does_not_fit(patch: pytest.MonkeyPatch) -> None:
    """Of a message whose fields are wrong the right ones are believed."""

    def read(plaintext: bytes) -> Frame:
        frame = unpack(plaintext)
        return frame._replace(messages=[*frame.messages, *([Mend(f"lock/{plaintext.hex()}")] * frame.invalid)])

    patch.setattr(Sealed, "read", staticmethod(read))


@pytest.mark.parametrize("plant", [remembers_what_is_malformed, overflows, takes_what_does_not_fit])
def test_what_is_broken_is_noticed(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    victim = Victim(4)
    size = victim.state()[1]
    with pytest.raises((AssertionError, OverflowError)):
        for batch in batches("planted", 320):
            hold(victim, batch)
            assert victim.state()[1] - size < GROWTH


def batches(seed: object, count: int, size: int = 40) -> list[list[bytes]]:
    random = Random(f"fuzz {seed}")
    return [[random.choice((mutated, gentle))(FRAMES, random) for _ in range(size)] for _ in range(count)]


def sendable(frame: bytes) -> bytes:
    """What a datagram can bring: whatever its size, the node must bear it."""
    return frame[:60_000]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_somebody_thought_of_changes_nothing(name: str, victim: Victim) -> None:
    frame = HOSTILE[name]
    before = victim.state()
    outputs = victim.datagram(sendable(frame))
    assert not [output for output in outputs if isinstance(output, Transmit)] or not is_void(frame)
    if is_void(frame):
        assert victim.state() == before


def hold(victim: Victim, batch: list[bytes]) -> None:
    """What is void changes nothing; the rest is borne."""
    void = [frame for frame in batch if is_void(frame)]
    before = victim.state()
    for frame in void:
        assert not [output for output in victim.datagram(sendable(frame)) if isinstance(output, Transmit)], frame.hex()
    if victim.state() != before:
        for frame in void:  # which one was it?
            before = victim.state()
            victim.datagram(sendable(frame))
            assert victim.state() == before, frame.hex()
        raise AssertionError("they changed something together")
    for frame in batch:
        if not is_void(frame):
            victim.datagram(sendable(frame))


def test_mutated_frames_in_datagrams(victim: Victim) -> None:
    size = victim.state()[1]
    for batch in batches("datagrams", 30):
        hold(victim, batch)
    assert victim.state()[1] - size < GROWTH, "what it holds is bounded"
    assert victim.node.stats()["node.malformed_frames"] > 100 and victim.node.stats()["node.invalid_messages"] > 100


def test_mutated_frames_over_streams() -> None:
    victim = Victim(2)
    number, channel = victim.stream()
    size = victim.state()[1]
    for batch in batches("streams", 10):
        before = victim.state()
        void = [frame for frame in batch if is_void(frame)]
        for frame in void:
            victim.say(number, channel, channel.seal(frame))
        assert victim.state() == before, [frame.hex() for frame in void]
        for frame in batch:
            if not victim.streams.is_up(number):  # something valid had it closed
                number, channel = victim.stream()
            if not is_void(frame):
                victim.say(number, channel, channel.seal(frame))
        if not victim.streams.is_up(number):
            number, channel = victim.stream()
    assert victim.state()[1] - size < GROWTH


def test_corrupt_streams_end_and_change_nothing() -> None:
    """Bytes changed, cut off or inserted anywhere, the handshake included, in one piece and in many."""
    victim, random = Victim(3), Random("corrupt")
    for _ in range(60):
        number, channel = victim.stream()
        before = victim.state()
        good = channel.seal(pack((), 0)) + channel.seal(b"x" * 100)
        bad = fuzzing._bytes(good, FRAMES, random)
        if bad.startswith(good):
            continue
        cut = random.randrange(len(bad) + 1)
        for piece in (bad[:cut], bad[cut:]):
            victim.node.on_stream(number, piece, victim.process.instant())
            assert not [output for output in victim.node.take() if isinstance(output, Transmit)]
        victim.node.on_stream_end(number, "closed", victim.process.instant())
        victim.node.take()
        assert abs(victim.state()[1] - before[1]) < 50


def test_who_has_no_secret_changes_nothing(victim: Victim) -> None:
    random = Random("raw")
    sealed = victim.fellow.assembly.node._seal.seal(FRAMES[0], victim.assembly.identity.boot.session)
    before = victim.state()
    for _ in range(2_000):
        data = fuzzing._bytes(sealed, FRAMES, random)
        if data != sealed:
            assert [output for output in victim.raw(data) if not isinstance(output, Publish)] == []
    assert victim.state() == before


def test_no_frame_takes_memory_out_of_proportion() -> None:
    oversized = [
        pack([b"\x81\x18\x1e"] * 100_000, 0),
        pack([encode(full(kind)) for _, kind in product_messages()] * 20, 0)[:MAX_FRAME_BYTES],
        b"\x83\x01\x00\x9a\x00\x02\x00\x00" + b"\x80" * 0x20000,
        b"\x83\x01\x00\x9a\x7f\xff\xff\xff" + b"\x80" * 100,
        bytes(MAX_FRAME_BYTES + 1),
    ]
    tracemalloc.start()
    try:
        for frame in [*oversized, *(frame for batch in batches("memory", 4) for frame in batch)]:
            tracemalloc.reset_peak()
            begun = tracemalloc.get_traced_memory()[0]
            with suppress(WireError):
                unpack(frame)
            taken = tracemalloc.get_traced_memory()[1] - begun
            assert taken < (1 << 20) + 120 * len(frame), (len(frame), taken, frame[:40].hex())
    finally:
        tracemalloc.stop()


ACTOR = b"actor, 16 bytes."
STAMP = 9 << 16
CELLS = (
    Cell(KEY, "config/limit", (0, STAMP, ACTOR, 0, STAMP, ACTOR), b"\x0a", None, ACTOR, 3),
    Cell(KEY, "gone", (7, STAMP, ACTOR, 0, STAMP, ACTOR), None, None, ACTOR, 4),
    Cell(KEY, "bound", (0, STAMP, ACTOR, 0, STAMP, ACTOR), b"\x61x", "lease/1", ACTOR, 5),
    Cell(KEY, "ttl", (0, STAMP, ACTOR, 2 * STAMP, STAMP, ACTOR), b"\xa1\x61k\x01", None, ACTOR, 6),
    Cell(COUNTER, "hits", (STAMP, ACTOR, 5, 1 << 70), b"\x18\x64", None, ACTOR, 7),
    Cell(LEASE_END, "lease/1", (STAMP, ACTOR), b"", None, ACTOR, 8),
    Cell(4_000, "of the future", (1, ACTOR, 2), b"whatever", None, ACTOR, 9),
)


def read_cell(data: bytes) -> Cell:
    return cell_of(load(data, MAX_FRAME_BYTES, 6))


def test_mutated_cells_are_refused_or_canonical() -> None:
    """The deltas of the store: what is taken for a cell is written again as the same cell."""
    random = Random("cells")
    cells = [encode_cell(cell) for cell in CELLS]
    taken = 0
    for _ in range(4_000):
        data = random.choice(cells)
        for _ in range(random.randint(1, 3)):
            data = fuzzing._structure(data, cells, random) if random.random() < 0.6 else fuzzing._bytes(data, cells, random)
        try:
            cell = read_cell(data)
        except (CellError, WireError):
            continue
        taken += 1
        assert read_cell(encode_cell(cell)) == cell
    assert taken > 100


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
def test_many_mutated_frames(seed: int) -> None:
    victim = Victim(seed)
    size = victim.state()[1]
    for batch in batches(seed, 400):
        hold(victim, batch)
    assert victim.state()[1] - size < 100_000
