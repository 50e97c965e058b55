"""Very many keys that expire at one moment: no step of the node is longer for it, and each is told once."""

from __future__ import annotations

from random import Random

from coordination.assembly import Assembly, Settings, build
from crdt.clock import Instant
from mesh.directives import Event
from mesh.outputs import Publish
from mesh.replication import Changed
from mesh.replication.replication import EXPIRED_AT_ONCE

MS = 1_000_000
KEYS = 5_000


def at(ms: int) -> Instant:
    return Instant(ms * MS, ms * MS, 1_700_000_000_000 + ms)


def told(node: Assembly) -> list[int]:
    """Of each step since the last look, how many changes it told."""
    events: list[Event] = [output.event for output in node.node.take() if isinstance(output, Publish)]
    return [len(event.changes) for event in events if isinstance(event, Changed)]


def test_what_expires_at_once_is_dropped_in_small_steps_and_never_shown() -> None:
    settings = Settings(name="a", address="127.0.0.1:1", networked=False)
    node = build(settings, session=b"s" * 16, entropy=bytes, random=Random(1), now=at(0))
    node.node.start(at(0))
    for n in range(KEYS):
        _, directives = node.replication.put(f"k{n:05}", b"\x01", at(1), ttl_ms=1_000)
        node.node.command(node.replication, directives, at(1))
    assert sum(told(node)) == KEYS
    now, steps = 1_000, []
    while node.store.next_expiry() is not None:
        now += 1
        node.node.on_due(at(now))
        steps += told(node)
        if now > 1_001:
            assert [*node.store.scan("", node.clock.read(at(now)))] == [], "what is not dropped yet is not shown either"
            _, directives = node.replication.put("meanwhile", b"\x02", at(now))
            node.node.command(node.replication, directives, at(now))
            assert told(node) == [1], "another's write waits for none of it"
            node.replication.store.put("meanwhile", None, node.clock.tick(at(now)))
            node.replication.store.take_changes()
    assert max(steps) <= EXPIRED_AT_ONCE
    assert sum(steps) == KEYS
    assert now < 1_001 + 2 * KEYS // EXPIRED_AT_ONCE
