"""W7: the secret of the mesh is changed twice while everything runs, and one node sleeps through any part of it.

`make soak` runs every interleaving of the six steps with one nap, several seeds and speeds. The laws fail on broken rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coordination.assembly import Settings
from mesh.keyring import Keyring
from mesh.rotation import rotation
from simulations import SECOND
from tests.simulated.rotation_story import KEYS, SECRETS, SLEEPER, STEPS, Story

NAPS = [(first, last) for first in range(len(STEPS) + 1) for last in range(first, len(STEPS) + 1)]
THROUGH_TWO = (0, len(STEPS))


def sound(story: Story) -> Story:
    assert story.run().violations() == [], story
    return story


@pytest.mark.parametrize("how", ["paused", "partition", "killed"])
def test_nobody_is_cut_off_unless_by_force(how: str) -> None:
    """A killed node has a state directory here; what becomes of one that has not is below."""
    for nap in [*NAPS[::5], THROUGH_TWO]:
        story = sound(Story(1, nap, how, force=False, durable=how == "killed"))
        assert not story.cut_off(), story
    assert any(each.startswith("remove 0: n3 may not hold") for each in story.refused), "it slept through two"
    assert story.cluster.peer("n0").assembly.keyring.primary.hex() == KEYS[2]


@pytest.mark.parametrize("how", ["paused", "partition", "killed"])
def test_who_is_cut_off_by_force_disturbs_nobody(how: str) -> None:
    story = sound(Story(1, THROUGH_TWO, how, force=True))
    assert story.cut_off() and not story.refused
    assert all(refusals(story, peer.name) for peer in story.others()), "what it says is refused, and counted"
    assert story.warned >= {peer.name for peer in story.others()}
    sleeper = story.cluster.peer(SLEEPER).assembly
    assert not any(sleeper.membership.is_alive(peer.name) for peer in story.others())
    story.world.kill(SLEEPER)
    make = story.cluster.make

    def with_the_new_secret(settings: Settings, **rest: Any) -> Any:
        return make(replace(settings, secrets=(SECRETS[2],)), **rest)

    story.cluster.make = with_the_new_secret
    story.world.run(SECOND)
    story.world.boot(SLEEPER)
    story.world.run(20 * SECOND)
    assert story.cluster.whole(), story.cluster.unseen()


def refusals(story: Story, name: str) -> int:
    """Datagrams and streams that were sealed with a secret that this node does not have."""
    stats = story.cluster.peer(name).assembly.node.stats()
    return stats.get("node.refused_unknown_key", 0) + stats.get("node.stream_unknown_key", 0)


def test_a_restart_with_the_first_secret() -> None:
    """Without a state directory it cannot join when that was removed; with one it has kept the ring."""
    for durable in (False, True):
        story = Story(1, (4, 6), "killed", force=True, durable=durable).run()
        assert story.cut_off() is not durable, durable
        if durable:
            assert story.violations() == []
            assert story.cluster.peer(SLEEPER).assembly.rotation.outdated, "its operator is told to change its secret"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("how", ["paused", "partition", "killed"])
def test_every_interleaving(how: str, force: bool, seed: int) -> None:
    for nap in NAPS:
        for apart in (8 * SECOND, 3 * SECOND // 2, SECOND // 4):
            sound(Story(seed, nap, how, force, apart, durable=how == "killed"))


# --- broken rules ------------------------------------------------------------------------------------------------------


def seals_with_the_primary_always(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Keyring, "key_to", lambda self, session: self.primary)
    patch.setattr(Keyring, "next_key", lambda self: self.primary)


def removes_whoever_lacks_the_other(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rotation.Rotation, "blocking_remove", lambda self, key: ())


def uses_before_all_have_it(patch: pytest.MonkeyPatch) -> None:
    """And seals with it to those who have not said so."""
    patch.setattr(rotation.Rotation, "_on_wrapped", lambda self, keys, now: ())
    patch.setattr(rotation.Rotation, "blocking_use", lambda self, key: ())
    patch.setattr(Keyring, "key_to", lambda self, session: self.primary)


def never_drops(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rotation.Rotation, "_drop", lambda self, now: ())


def tells_nobody_who_comes_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rotation.Rotation, "eager", lambda self, to: False)
    patch.setattr(rotation.Rotation, "_push", lambda self, now: ())


@pytest.mark.parametrize(
    ("plant", "force"),
    [
        (seals_with_the_primary_always, False),
        (removes_whoever_lacks_the_other, False),
        (uses_before_all_have_it, False),
        (never_drops, True),
        (tells_nobody_who_comes_back, False),
    ],
)
def test_the_laws_fail_on_broken_rules(plant: object, force: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)  # type: ignore[operator]
    for how in ("paused", "partition"):
        for nap in (THROUGH_TWO, (1, 3)):
            story = Story(1, nap, how, force).run()
            if story.violations() or (not force and story.cut_off()):
                return
    raise AssertionError("it was not noticed")
