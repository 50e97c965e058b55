"""Secrets: derivation that serves no key twice, and rotation in every interleaving (W7)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from mesh.keyring import KEY_ID_BYTES, MIN_SECRET_BYTES, Keyring
from mesh.seal import Refusal, Seal
from tests.mesh.sources import OTHER_SECRET, SECRET, entropy, session

OLD, NEW, NEWER = "the old secret" + "." * 32, "the new secret" + "." * 32, "the newer secret" + "." * 32


def test_short_and_missing_secrets_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"31 bytes is too short.*mesh keygen"):
        Keyring(["x" * (MIN_SECRET_BYTES - 1)])
    with pytest.raises(ValueError, match="mesh keygen"):
        Keyring([])
    assert Keyring(["x" * MIN_SECRET_BYTES]).public is False


def test_text_and_bytes_are_one_secret() -> None:
    ring = Keyring(["é" * 16])
    assert ring.add(("é" * 16).encode()) == ring.primary
    assert len(ring.identifiers()) == 1


def test_the_first_is_primary_and_others_are_used_only_when_told() -> None:
    ring = Keyring([SECRET])
    first = ring.primary
    second = ring.add(OTHER_SECRET)
    assert ring.primary == first and ring.identifiers() == (first, second)
    with pytest.raises(ValueError, match="use another first"):
        ring.remove(first)
    ring.use(second)
    ring.remove(first)
    assert ring.identifiers() == (second,) and first not in ring
    with pytest.raises(ValueError, match="add it first"):
        ring.use(first)
    with pytest.raises(KeyError):
        ring.derive(first, b"udp", b"")


def test_without_a_secret_the_framing_is_the_same() -> None:
    one, two = Keyring.without_secret(), Keyring.without_secret()
    assert one.public and one.primary == two.primary
    assert one.primary != Keyring([SECRET]).primary


@given(st.sets(st.tuples(st.sampled_from([b"udp", b"hello", b"stream", b"ud"]), st.binary(max_size=6)), min_size=2, max_size=8))
def test_every_purpose_and_context_has_a_key_of_its_own(uses: set[tuple[bytes, bytes]]) -> None:
    ring = Keyring([SECRET, OTHER_SECRET])
    keys = {ring.derive(identifier, *use) for identifier in ring.identifiers() for use in uses}
    assert len(keys) == 2 * len(uses)
    assert all(len(key) == 32 for key in keys)
    assert all(len(identifier) == KEY_ID_BYTES for identifier in ring.identifiers())


@given(st.binary(max_size=80), st.binary(min_size=MIN_SECRET_BYTES, max_size=200))
def test_keys_are_those_of_hkdf(context: bytes, secret: bytes) -> None:
    """RFC 5869, as another implementation of it has it."""
    ring = Keyring([secret])
    key = HKDF(SHA256(), 32, salt=b"trio-mesh 1", info=b"udp\0" + context).derive(secret)
    assert ring.derive(ring.primary, b"udp", context) == key
    assert ring.primary == HKDF(SHA256(), KEY_ID_BYTES, salt=b"trio-mesh 1", info=b"id\0").derive(secret)


class Node:
    """A keyring and a seal, and the steps of one rotation at this node."""

    def __init__(self, name: str, secret: str) -> None:
        self.ring = Keyring([secret])
        self.seal = Seal(self.ring, session(name), entropy(name))
        self.session = session(name)

    def rotate(self, step: str, secret: str) -> None:
        identifier = Keyring([secret]).primary
        match step:
            case "add":
                self.ring.add(secret)
            case "use":
                self.ring.use(identifier)
            case "remove":
                self.ring.remove(identifier)

    def hears(self, other: Node) -> bool:
        self.seal.know(other.session)
        try:
            return self.seal.open(other.seal.seal(b"word", self.session)).plaintext == b"word"
        except Refusal as refusal:
            assert refusal.reason == "unknown_key"
            return False


def phases(old: str, new: str) -> list[tuple[str, str]]:
    return [("add", new), ("use", new), ("remove", old)]


def interleavings(nodes: int) -> Iterator[list[int]]:
    """In which order the nodes take one phase."""
    return (list(order) for order in permutations(range(nodes)))


@pytest.mark.parametrize("order_of_add", list(interleavings(3)))
@pytest.mark.parametrize("order_of_use", list(interleavings(3)))
def test_a_rotation_in_which_all_wait_for_each_other_is_never_noticed(order_of_add: list[int], order_of_use: list[int]) -> None:
    """Between any two steps everybody hears everybody; so too with datagrams that were under way."""
    nodes = [Node(name, OLD) for name in "abc"]
    for (step, secret), order in zip(phases(OLD, NEW), (order_of_add, order_of_use, order_of_add[::-1]), strict=True):
        for index in order:
            under_way = [(to, sender.seal.seal(b"late", to.session)) for sender in nodes for to in nodes if to is not sender]
            nodes[index].rotate(step, secret)
            assert all(one.hears(other) for one in nodes for other in nodes if one is not other)
            if step != "remove":
                assert all(to.seal.open(data).plaintext == b"late" for to, data in under_way)


def test_skipping_the_wait_is_noticed() -> None:
    """The check above can fail: one uses the new secret before the other has it."""
    one, two = Node("a", OLD), Node("b", OLD)
    one.rotate("add", NEW)
    one.rotate("use", NEW)
    assert not two.hears(one) and one.hears(two)


STEPS = [*phases(OLD, NEW), *phases(NEW, NEWER)]


@pytest.mark.parametrize("slept_after", range(len(STEPS)))
@pytest.mark.parametrize("caught_up", range(len(STEPS) + 1))
def test_a_node_that_slept_through_two_rotations(slept_after: int, caught_up: int) -> None:
    """Shut out exactly while it shares no secret, in either direction; whole again with the same steps, in their order."""
    awake, sleeper = [Node("a", OLD), Node("b", OLD)], Node("s", OLD)
    for index, step in enumerate(STEPS):
        for node in awake:
            node.rotate(*step)
        if index < slept_after:
            sleeper.rotate(*step)
    for step in STEPS[slept_after:caught_up]:
        sleeper.rotate(*step)
    for node in awake:
        assert node.hears(awake[0] if node is awake[1] else awake[1])
        assert node.hears(sleeper) == (sleeper.ring.primary in node.ring)
        assert sleeper.hears(node) == (node.ring.primary in sleeper.ring)
    for step in STEPS[max(slept_after, caught_up) :]:
        sleeper.rotate(*step)
    for node in awake:
        assert node.hears(sleeper) and sleeper.hears(node)
    assert sleeper.ring.identifiers() == awake[0].ring.identifiers()
