"""A world without encoding decides as one in which every byte is sealed, and shares no message that anybody changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.channel import Channel, ChannelError, MakeKeys, SealedKeys
from mesh.directives import Address, Event, Message
from mesh.envelope import Encoded
from mesh.largest import bound_of
from mesh.schema import converts
from mesh.seal import Refusal, Seal
from mesh.wire import decode, encode
from simulations import SECOND, Cluster, World
from simulations.cluster import SimPeer
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.parcels import OpenKeys, Parcels
from simulations.plans.profiles import PROFILES
from simulations.recording import snapshot
from simulations.scenarios.scenarios import network_of, run_locking, run_spreading
from tests.mesh.sources import OTHER_SECRET, SECRET, entropy, ring, session
from tests.mesh.wire_values import full, product_messages, values

MESSAGES = product_messages()


class Everything(Observer):
    """What nodes tell, and what they send: when, who, to whom, how much."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str, str]] = []
        self.sent: list[tuple[int, str, Address | int, int]] = []
        self.world: World | None = None

    def watch(self, world: World) -> None:
        self.world = world
        world.observe(self)

    def published(self, process: Process, event: Event) -> None:
        assert self.world is not None
        self.told.append((self.world.now, process.machine, repr(event)))

    def transmitted(self, process: Process, address: Address, data: bytes) -> None:
        assert self.world is not None
        self.sent.append((self.world.now, process.machine, address, len(data)))

    def wrote(self, process: Process, stream: int, data: bytes) -> None:
        assert self.world is not None
        self.sent.append((self.world.now, process.machine, stream, len(data)))


def kept(peers: dict[str, SimPeer]) -> list[Any]:
    return [snapshot(peer, ("lock/a", "lock/b", "lock/c")) for peer in peers.values()]


@pytest.mark.parametrize("seed", range(3))
def test_locks_under_faults_come_out_the_same(seed: int) -> None:
    plan = PROFILES["hostile"].plan(seed, [f"n{number}" for number in range(5)], 10 * SECOND)
    one, other = Everything(), Everything()
    sealed = run_locking(seed, nodes=5, duration=10 * SECOND, plan=plan, seen=one.watch)
    parcels = run_locking(seed, nodes=5, duration=10 * SECOND, plan=plan, seen=other.watch, encoded=False)
    assert sealed.locks.grants > 10
    assert one.told == other.told
    assert one.sent == other.sent
    assert kept(sealed.locks.cluster.peers) == kept(parcels.locks.cluster.peers)
    assert sealed.world.schedule.performed == parcels.world.schedule.performed


@pytest.mark.parametrize("seed", range(2))
def test_stores_and_members_under_faults_come_out_the_same(seed: int) -> None:
    plan = PROFILES["hostile"].plan(seed, [f"n{number}" for number in range(8)], 7 * SECOND)
    one, other = Everything(), Everything()
    sealed = run_spreading(seed, plan, nodes=8, seen=one.watch)
    parcels = run_spreading(seed, plan, nodes=8, seen=other.watch, encoded=False)
    assert one.told == other.told
    assert one.sent == other.sent
    assert kept(sealed.cluster.peers) == kept(parcels.cluster.peers)
    assert any(len(peer.store) for peer in parcels.cluster.living())


def test_nobody_changes_what_is_shared_and_all_of_it_reads_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Message, bytes]] = []
    real = Parcels.seal

    def seal(self: Parcels, batch: Sequence[Encoded], cut: int, to: bytes) -> bytes:
        parcel: Any = real(self, batch, cut, to)
        sent.extend([(message, b"" if converts(type(message)) else encode(message)) for message in parcel.frame.messages])
        return parcel  # type: ignore[no-any-return]

    monkeypatch.setattr(Parcels, "seal", seal)
    run_locking(3, nodes=5, duration=10 * SECOND, encoded=False)
    assert len({type(message) for message, _ in sent}) > 20
    for message, encoded in sent:
        if encoded:
            assert encode(message) == encoded
            assert repr(decode(encoded)) == repr(message), "its receiver would have got something else"


@pytest.mark.parametrize(("number", "cls"), MESSAGES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_no_message_is_larger_than_its_bound(number: int, cls: type[Message], data: st.DataObject) -> None:
    bound = bound_of(cls)
    for message in (data.draw(values(cls)), full(cls)):
        assert len(encode(message)) <= (bound if isinstance(bound, int) else bound(message))


def cluster(seed: int, *, encoded: bool = False) -> Cluster:
    made = Cluster(World(seed, conditions=network_of(seed)), 3, encoded=encoded)
    made.form()
    return made


def test_a_parcel_is_refused_where_a_sealed_datagram_is() -> None:
    """By another process, by its sender, and twice."""
    made = cluster(1)
    parcels: list[tuple[Process, bytes]] = []

    class Spy(Observer):
        def transmitted(self, process: Process, address: Address, data: bytes) -> None:
            if address == made.peers["n1"].process.address and process.machine == "n0":
                parcels.append((process, data))

    made.world.observe(Spy())
    assert made.world.run_until(lambda: bool(parcels), 5 * SECOND) is not None
    made.world.run(SECOND // 2)
    _, parcel = parcels[0]
    seals: dict[str, Seal] = {name: peer.assembly.node._seal for name, peer in made.peers.items()}
    for name, reason in (("n0", "own"), ("n1", "replayed"), ("n2", "unauthentic")):
        with pytest.raises(Refusal) as refused:
            Parcels(seals[name]).open(parcel)
        assert refused.value.reason == reason
    seals["n2"].keyring._secrets.clear()
    with pytest.raises(Refusal, match="unknown_key"):
        Parcels(seals["n2"]).open(parcel)


FRAMES = (b"", b"a", b"of several bytes", bytes(range(256)))


def talk(make: MakeKeys, flips: Collection[int], secret: str = SECRET) -> list[object]:
    """What two ends of a stream make of it, if these bits of what the first one says change on their way."""
    one = Channel(ring(SECRET), session("one"), entropy("one"), initiator=True, make=make)
    two = Channel(ring(secret), session("two"), entropy("two"), initiator=False, make=make)
    came: list[object] = []
    said = 0

    def hear(end: Channel, data: bytes) -> None:
        came.append(len(data))
        try:
            came.extend(end.receive(data))
        except ChannelError as problem:
            came.extend([*problem.plaintexts, problem.reason])

    def say(data: bytes) -> None:
        nonlocal said
        changed = bytearray(data)
        for bit in flips:
            if said <= bit >> 3 < said + len(data):
                changed[(bit >> 3) - said] ^= 1 << (bit & 7)
        said += len(data)
        hear(two, bytes(changed))
        hear(one, two.take())

    say(one.opening())
    say(one.take())
    if one.ready:
        for frame in FRAMES:
            say(one.seal(frame))
    return [*came, said, one.ready, two.ready]


LARGEST = talk(SealedKeys, ())[-3]


@settings(max_examples=150, deadline=None)
@given(st.sets(st.integers(0, 8 * cast(int, LARGEST) - 1), max_size=4))
def test_a_stream_under_open_keys_takes_and_refuses_what_a_sealed_one_does(flips: set[int]) -> None:
    """Whichever few bits change: the greeting, a length, its proof, what is in a frame, its seal."""
    assert talk(OpenKeys, flips) == talk(SealedKeys, flips)


def test_open_keys_are_of_one_stream_one_direction_one_frame_and_one_secret() -> None:
    identifier = ring(SECRET).primary
    keys = OpenKeys(ring(SECRET), identifier, b">context")
    sealed = keys.seal(3, b"frame")
    assert keys.open(3, sealed) == b"frame"
    others = [OpenKeys(ring(SECRET), identifier, b"<context"), OpenKeys(ring(SECRET), b"else", b">context")]
    for other, number in [(keys, 2), (keys, 4), *[(other, 3) for other in others]]:
        assert other.header(number, 5) != keys.header(3, 5)
        with pytest.raises(InvalidTag):
            other.open(number, sealed)
    assert talk(OpenKeys, (), OTHER_SECRET) == talk(SealedKeys, (), OTHER_SECRET)


def test_its_digest_is_of_its_own_kind_and_repeats() -> None:
    digests = [cluster(2, encoded=encoded).world.trace.digest() for encoded in (False, False, True)]
    assert digests[0] == digests[1] != digests[2]
