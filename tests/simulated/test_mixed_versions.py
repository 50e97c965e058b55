"""W8: nodes of an older, this, and a newer version in one mesh: what is not known is ignored and counted, and all work.

older   knows no message of number 87, 90 to 99 or 150 and above, sends none of the fields that were appended since, and reads
        none
newer   sends messages that nobody knows, fields that nobody knows behind every message, elements behind every frame, a higher
        protocol, and now and then a datagram of another sealing"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from functools import partial
from typing import Any

import cbor2
import pytest

from coordination.assembly import Assembly, build
from mesh.directives import Event, Message
from mesh.envelope import Encoded, Sealed, packed
from mesh.membership import LOCAL
from mesh.messaging import Fate, Posted
from mesh.seal import Seal
from mesh.wire import Frame, encode, load, registered, unpack
from simulations import SECOND, Cluster, World

UNKNOWN = 77_777


def is_new(message: Message) -> bool:
    numbers = {kind: number for number, kind in registered().items()}
    return (number := numbers[type(message)]) == 87 or 90 <= number < 100 or number >= 150


class Older(Sealed):
    """The envelope of a node that was built before these messages and fields."""

    def __init__(self, seal: Seal) -> None:
        super().__init__(seal)
        self.ignored = 0

    @staticmethod
    def encode(message: Message) -> Encoded:  # type: ignore[override]
        raw = list(load(encode(message), 1 << 22, 12))
        appended = sum(field.default is not MISSING for field in fields(message))  # type: ignore[arg-type]
        return cbor2.dumps(raw[: len(raw) - appended])

    def read(self, plaintext: bytes) -> Frame:
        frame = unpack(plaintext)
        known = [message for message in frame.messages if not is_new(message)]
        ignored = len(frame.messages) - len(known)
        return Frame(frame.version, frame.cut, known, frame.unknown + ignored, frame.invalid)


class Newer(Sealed):
    """The envelope of a node of some later version."""

    def __init__(self, seal: Seal) -> None:
        super().__init__(seal)
        self._count = 0

    @staticmethod
    def encode(message: Message) -> Encoded:  # type: ignore[override]
        raw = list(load(encode(message), 1 << 22, 12))
        return cbor2.dumps([*raw, "appended", {"later": [1]}])

    def seal(self, batch: Sequence[Encoded], cut: int, to: bytes) -> bytes:
        self._count += 1
        messages = [cbor2.loads(bytes(each)) for each in batch]
        frame = [2, cut, [[UNKNOWN, "news", {"of": "tomorrow"}], *messages], "and more"]
        plain = cbor2.dumps(frame)
        sealed = self._seal.seal(plain if len(plain) < 1_300 else packed(batch, cut), to)
        return b"\x02" + sealed[1:] if self._count % 97 == 0 else sealed


def mixed(seed: int, versions: dict[str, Callable[[Seal], Any]]) -> Cluster:
    def make(settings: Any, **rest: Any) -> Assembly:
        envelope = versions.get(settings.name, Sealed)
        return build(settings, envelope=envelope, **rest)

    return Cluster(World(seed), 5, profile=LOCAL, make=make)


def settle(cluster: Cluster, condition: Callable[[], bool], within: int = 20) -> None:
    assert cluster.world.run_until(condition, within * SECOND) is not None


@pytest.mark.parametrize("seed", [1, *[pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 30)]])
def test_a_mixed_mesh_works(seed: int) -> None:
    cluster = mixed(seed, {"n0": Older, "n1": Newer, "n3": Older, "n4": Newer})
    cluster.form()
    peers = [cluster.peer(name) for name in cluster.names]
    for number, peer in enumerate(peers):
        peer.put(f"key/{peer.name}", number)
        peer.add("hits", 1)
    settle(cluster, lambda: all(peer.store.counter("hits") == 5 for peer in peers))
    settle(cluster, lambda: all(all(holds(other.store, f"key/{peer.name}") for peer in peers) for other in peers))
    for peer in peers:
        request = peer.assembly.agreed.holder.next_request()
        peer.ask(request, f"lock/{peer.name}")
        settle(cluster, partial(peer.holds, request), 5)
    cluster.world.run(20 * SECOND)
    assert cluster.whole(), cluster.unseen()
    for peer in peers:
        stats = peer.assembly.node.stats()
        assert stats["node.unknown_messages"] > 0, "what the newer say, ignored and counted"
        assert stats.get("node.malformed_frames", 0) == 0 and stats.get("node.invalid_messages", 0) == 0, stats
    assert sum(peer.assembly.node.stats().get("node.refused_version", 0) for peer in peers) > 0


def holds(store: Any, key: str) -> bool:
    return store.get(key, (1 << 63)) is not None


def test_what_older_members_do_not_know_reaches_the_others() -> None:
    """Broadcasts go round them, letters to them end, and a rotation that they cannot take part in is refused."""
    cluster = mixed(1, {"n0": Older})
    cluster.form()
    peers = [cluster.peer(name) for name in cluster.names]
    read = {peer.name: peer.assembly.messaging.subscribe("news", 10) for peer in peers}
    fates: list[Fate] = []
    sender = peers[1]
    messaging = sender.assembly.messaging

    def on_event(event: Event) -> None:
        if isinstance(event, Posted):
            fates.append(event.fate)

    sender.process.subscribe(on_event)
    now = sender.process.instant
    sender.perform(messaging, messaging.broadcast("news", b"\x01", now()))
    ref = messaging.next_ref()
    sender.perform(messaging, messaging.send(ref, "n0", "news", b"\x02", now()))
    rotation = sender.assembly.rotation
    sender.perform(rotation, rotation.add("a second secret, long enough for this mesh", now())[1])
    cluster.world.run(40 * SECOND)
    reached = [name for name, subscription in read.items() if subscription is not None and subscription.unread]
    assert reached == ["n1", "n2", "n3", "n4"]
    assert fates == [Fate.UNKNOWN], "it never answers, and is given up after half a minute"
    (new,) = [row.key for row in rotation.standing() if not row.primary]
    assert rotation.blocking_use(new) == ("n0",)
    assert cluster.whole(), cluster.unseen()
    before = sender.assembly.node.stats()["node.datagrams_sent"]
    cluster.world.run(10 * SECOND)
    assert sender.assembly.node.stats()["node.datagrams_sent"] - before < 10 * 40, "and it is not told for ever"
