"""Everything that the agreed state says in one run survives the wire unchanged."""

from __future__ import annotations

from coordination.agreed.vocabulary import messages
from coordination.agreed.vocabulary.modes import Mode
from mesh.directives import Message
from mesh.wire import decode, encode
from tests.coordination.agreed_campaign import stress
from tests.coordination.agreed_world import Node, World
from tests.coordination.durable_campaign import durable_stress


def test_messages_of_whole_runs_decode_to_themselves(monkeypatch: object) -> None:
    seen: dict[str, int] = {}
    transmit = World.transmit

    def check(self: World, node: Node, to: str, message: Message) -> None:
        name = type(message).__name__
        seen[name] = seen.get(name, 0) + 1
        if seen[name] <= 200:
            assert decode(encode(message)) == message
        transmit(self, node, to, message)

    World.transmit = check  # type: ignore[method-assign, assignment]
    try:
        for seed in range(12):
            world = stress(seed)
            node = world.nodes["n0"]
            assert node.parts is not None
            world.perform(node, node.parts.inspector, node.parts.inspector.explain(1, "lock/a", world.instant(node)))
            world.perform(node, node.parts.census, node.parts.census.count(1, "", world.instant(node)))
            for limit, name in enumerate(("n0", "n1", "n2"), 2):
                world.acquire(name, "semaphore/x", mode=Mode(1, limit))
            world.run(10**9)
        durable_stress(0)
    finally:
        World.transmit = transmit  # type: ignore[method-assign]
    wire = {name for name in messages.__all__ if isinstance(getattr(messages, name), type)}
    wire = {name for name in wire if issubclass(getattr(messages, name), Message)}
    assert wire - set(seen) <= {"Mend", "BirthRefused"}, "a message that no run sends"
