"""A fuzz target over every frame and message: mutations of a corpus, and a whole node that is fed with them.

The corpus is the golden frames (every message that any version has sent, with everything optional and with nothing), beside
`HOSTILE`: what somebody would think of who means ill. A mutation changes bytes, or the decoded structure: numbers to their
extremes, lengths, kinds, nesting, messages repeated and spliced.

`Victim` is a whole node of a mesh of three. It is fed as by one of its members, sealed with the mesh's secret, in datagrams
and over streams; whoever has no secret is fed by `raw`. Three things are held:

    no crash    whatever comes, the node goes on
    no change   a frame of which no message is valid changes nothing but counts, and is not answered
    no growth   however many come, what the node holds stays bounded"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import cbor2

from mesh.channel import Channel
from mesh.outputs import Output
from mesh.streams import Streams
from mesh.wire import WireError, unpack
from simulations import SECOND, Cluster, World
from tests.mesh.golden_frames import load_record

__all__ = ["HOSTILE", "Victim", "corpus", "gentle", "is_void", "mutated"]

EXTREMES = (
    0,
    1,
    23,
    24,
    255,
    256,
    1 << 16,
    1 << 31,
    (1 << 32) - 1,
    1 << 47,
    1 << 62,
    (1 << 63) - 1,
    (1 << 64) - 1,
    -1,
    1 << 64,
)

HOSTILE = {
    "empty": b"",
    "null": b"\xf6",
    "no messages": cbor2.dumps([1, 0, []]),
    "version 0": cbor2.dumps([0, 0, [[30]]]),
    "version of the far future": cbor2.dumps([1 << 63, 0, [[30]], "more"]),
    "cut of the far future": cbor2.dumps([1, (1 << 64) - 1, [[30]]]),
    "a number that nobody has": cbor2.dumps([1, 0, [[(1 << 64) - 1, "x"]]]),
    "a negative number": cbor2.dumps([1, 0, [[-1, "x"]]]),
    "a number that is text": cbor2.dumps([1, 0, [["20", 1]]]),
    "ten thousand empty messages": cbor2.dumps([1, 0, [[]] * 10_000]),
    "ten thousand of one": cbor2.dumps([1, 0, [[30]] * 10_000]),
    "a hundred levels": b"\x83\x01\x00" + b"\x81" * 100 + b"\x00",
    "an array of 4 billion": b"\x83\x01\x00\x9a\xff\xff\xff\xff",
    "a text of 16 exabytes": b"\x83\x01\x00\x81\x82\x14\x7b\xff\xff\xff\xff\xff\xff\xff\xff",
    "indefinite": b"\x9f\x01\x00\x9f\xff\xff",
    "a shared reference": bytes.fromhex("830100d81c81d81d00"),
    "a regular expression": bytes.fromhex("83010081d8236128"),
    "a date": bytes.fromhex("830100 81c11a5f5e1000".replace(" ", "")),
    "a map with itself as key": bytes.fromhex("830100a1a0a0"),
    "a large integer": b"\x83\x01\x00\x81\x82\x14\xc2\x59\x10\x00" + b"\xff" * 4_096,
    "not a number": cbor2.dumps([1, 0, [[20, float("nan"), b"s" * 16]]]),
    "trailing": cbor2.dumps([1, 0, [[30]]]) + b"\0",
    "lone surrogates": b"\x83\x01\x00\x81\x82\x14\x63\xed\xa0\x80",
}


def corpus() -> list[bytes]:
    """Frames that are worth changing."""
    golden = [bytes.fromhex(example["frame"]) for entry in load_record().values() for example in entry["examples"]]
    return [*golden, *HOSTILE.values()]


# --- mutations ---------------------------------------------------------------------------------------------------------


def mutated(frames: list[bytes], random: Random) -> bytes:
    """One frame of the corpus, changed once to four times."""
    data = random.choice(frames)
    for _ in range(random.randint(1, 4)):
        data = _structure(data, frames, random) if random.random() < 0.7 else _bytes(data, frames, random)
    return data


def gentle(frames: list[bytes], random: Random) -> bytes:
    """One frame of the corpus in which one to three values are others of their kind: mostly it stays valid."""
    data = random.choice(frames)
    try:
        raw = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, RecursionError, MemoryError):
        return data
    messages = raw[2] if isinstance(raw, list) and len(raw) > 2 and isinstance(raw[2], list) else []
    places = [(holder, key) for message in messages[:20] for holder, key in _places(message) if holder is not message or key]
    for holder, key in random.choices(places, k=random.randint(1, 3)) if places else ():
        holder[key] = _fellow(holder[key], random)
    return _dumped(raw, data)


def _fellow(value: Any, random: Random) -> Any:
    """Another value of the same kind and, if it has one, length."""
    match value:
        case bool():
            return not value
        case int():
            return random.choice([each for each in EXTREMES if 0 <= each < 1 << 64])
        case bytes():
            return random.choice((random.randbytes(len(value)), bytes(len(value)), b"\xff" * len(value)))
        case str():
            return random.choice(("n0", "n1", "n2", "x" * len(value), "127.0.0.1:1", "lock/a", "key/b"))
    return value


def _bytes(data: bytes, frames: list[bytes], random: Random) -> bytes:
    changed = bytearray(data)
    at = random.randrange(len(data) + 1)
    match random.randrange(6):
        case 0 if data:
            changed[at % len(data)] ^= 1 << random.randrange(8)
        case 1:
            del changed[at:]
        case 2:
            changed[at:at] = random.randbytes(random.choice((1, 2, 8, 64)))
        case 3 if data:
            changed[at % len(data)] = random.choice((0, 0x1B, 0x5B, 0x7B, 0x80, 0x9B, 0xBB, 0xC2, 0xDB, 0xF6, 0xFF))
        case 4:
            other = random.choice(frames)
            changed[at:] = other[random.randrange(len(other) + 1) :]
        case _:
            changed += random.randbytes(random.randrange(1, 20))
    return bytes(changed)


def _structure(data: bytes, frames: list[bytes], random: Random) -> bytes:
    try:
        raw = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, RecursionError, MemoryError):
        return _bytes(data, frames, random)
    if not isinstance(raw, list):
        return _bytes(data, frames, random)
    places = list(_places(raw))
    if not places:
        return _bytes(data, frames, random)
    holder, key = random.choice(places)
    holder[key] = _other(holder[key], frames, random)
    if random.random() < 0.1:
        holder.insert(key, holder[key])
    return _dumped(raw, data)


def _dumped(raw: Any, otherwise: bytes) -> bytes:
    try:
        return cbor2.dumps(raw)
    except (cbor2.CBOREncodeError, ValueError, RecursionError):  # a cycle: one of the corpus tries that
        return otherwise


def _places(raw: Any, depth: int = 0) -> Iterator[tuple[list[Any], int]]:
    if isinstance(raw, list) and depth < 12:
        for index, item in enumerate(raw[:200]):
            yield raw, index
            yield from _places(item, depth + 1)


def _other(value: Any, frames: list[bytes], random: Random) -> Any:
    if random.random() < 0.15:
        return random.choice((None, True, 0, "", b"", [], {}, 1.5, "x" * 70, b"y" * 17, [[]], {"a": 1}))
    match value:
        case bool():
            return not value
        case int():
            return random.choice((*EXTREMES, value + 1, value - 1, value ^ (1 << random.randrange(64))))
        case bytes():
            return random.choice(
                (b"", value[:-1], value + b"\0", random.randbytes(len(value)), value * 40, _inner(value, random))
            )
        case str():
            return random.choice(("", value[:-1], value + "\0", value * 40, "ü" * len(value), "n1", "n0", "127.0.0.1:1"))
        case list():
            return random.choice((value[:-1], value * 2, value * 60, value[::-1], [value], [*value, 0]))
    return value


def _inner(value: bytes, random: Random) -> bytes:
    """Bytes that are CBOR themselves, changed inside: cells, users' values."""
    return _structure(value, [value], random) if value else value


# --- a node --------------------------------------------------------------------------------------------------------------

SKIPPED = frozenset(
    {"_actions", "_counts", "_encoded", "_encoders", "_envelope", "_greeter", "_listeners", "_memory", "_now", "_outputs",
     "_packer", "_random", "_seal", "_streams", "counts", "dropped", "keyring", "stats"}
)  # fmt: skip
"""Counts, what every datagram must change (its window), and what is only read."""


def state_of(root: Any) -> tuple[int, int]:
    """A hash of all that is reached from an object, and how many things that is."""
    seen: dict[int, Any] = {}
    parts: list[Any] = []
    stack: list[Any] = [root]
    while stack:
        thing = stack.pop()
        if isinstance(thing, int | str | bytes | float | None | type):
            parts.append(thing)
            continue
        if isinstance(thing, FunctionType | MethodType | BuiltinFunctionType | Counter | Random) or id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, dict):
            stack.extend(thing)
            stack.extend(thing.values())
        elif isinstance(thing, list | tuple):
            stack.extend(thing)
        elif isinstance(thing, set | frozenset):
            stack.extend(sorted(thing, key=repr))
        elif hasattr(thing, "popleft"):
            stack.extend(thing)
        else:
            names = {name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())}
            names |= set(getattr(thing, "__dict__", ()))
            stack.extend(getattr(thing, name) for name in sorted(names) if name not in SKIPPED and hasattr(thing, name))
    return hash(tuple(map(repr, parts))), len(parts) + len(seen)


class Victim:
    """The node `n0`, and the means of its fellow `n1` to say anything to it."""

    def __init__(self, seed: int = 1) -> None:
        self.world = World(seed)
        self.cluster = Cluster(self.world, 3)
        self.cluster.form()
        self.world.run(5 * SECOND)
        victim, fellow = self.cluster.peer("n0"), self.cluster.peer("n1")
        self.assembly, self.process, self.fellow = victim.assembly, victim.process, fellow
        self.node = victim.assembly.node
        self.outputs: list[Output] = []

    def state(self) -> tuple[int, int]:
        return state_of((self.node.parts, self.node._contacts, self.node._carriage.courier, self.node._timers))

    def datagram(self, frame: bytes) -> list[Output]:
        """A frame from the fellow, in a datagram of any size."""
        to = self.assembly.identity.boot.session
        return self.raw(self.fellow.assembly.node._seal.seal(frame, to))

    def raw(self, data: bytes) -> list[Output]:
        self.node.on_datagram(data, self.fellow.process.address, self.process.instant())
        return self.node.take()

    def stream(self) -> tuple[int, Channel]:
        """One that the fellow has dialled, up."""
        keyring, session = self.fellow.assembly.keyring, self.fellow.assembly.identity.boot.session
        channel = Channel(keyring, session, Random(self.world.seed).randbytes, initiator=True)
        number = self.node.on_accept(self.fellow.process.address, self.process.instant())
        self.say(number, channel, channel.opening())
        self.say(number, channel, channel.take())
        assert channel.ready
        return number, channel

    def say(self, number: int, channel: Channel, data: bytes) -> list[Output]:
        """Bytes on that stream; what it answers is read by the channel."""
        self.node.on_stream(number, data, self.process.instant())
        outputs = self.node.take()
        for output in outputs:
            if getattr(output, "stream", None) == number and hasattr(output, "data"):
                channel.receive(output.data)
        return outputs

    @property
    def streams(self) -> Streams:
        return self.node._streams


def is_void(frame: bytes) -> bool:
    """Whether a frame says nothing: no message of it is valid, nor does it tell of its sender's standing."""
    try:
        read = unpack(frame)
    except WireError:
        return True
    return not read.messages and not read.cut
