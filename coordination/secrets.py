"""The secrets of the mesh, changed while everything runs.

    added = await peer.secrets.add(NEW)         # every member is given it
    await peer.secrets.spread(added)            # until all that can be reached have it
    await peer.secrets.use(added)               # everyone seals with it
    await peer.secrets.remove(old)              # nobody accepts the old one any more

Secrets are named by their identifiers (8 hexadecimal digits), which tell nothing of them. What was given to the nodes at
their start (a file, an argument) is the operator's to change: with a `state_dir` a node remembers the ring, as long as it is
started with one of the secrets that it was started with before; without, a node that is started with a removed secret cannot
join."""

from __future__ import annotations

from collections.abc import Callable

import trio

from coordination.arguments.rotating import SecretStanding, add_secret, key_of, remove_secret, standing_of, use_secret
from coordination.core import Core
from crdt.clock import Instant
from mesh.directives import Directives
from mesh.rotation import Rotation

__all__ = ["Secrets"]

LOOK = 0.05
"""Seconds between two looks while `spread` waits."""

ANSWERS = 1.0
"""Seconds for which `list` waits for members that have not said what they hold."""


class Secrets:
    """`peer.secrets`. Every call is a checkpoint."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    async def list(self) -> tuple[SecretStanding, ...]:
        """Every secret that this node holds, the one first that it seals with, and who lacks it. Members that have not said
        what they hold are asked, and waited for, for a second at the most."""
        rotation = self._core.assembly.rotation
        await self._core.turn()
        self._core.driver.command(rotation, rotation.inquire(self._core.now()))
        with trio.move_on_after(ANSWERS):
            while any(row.unknown for row in standing_of(rotation)):  # noqa: ASYNC110 (others change it, without an event)
                await trio.sleep(LOOK)
        return standing_of(rotation)

    async def add(self, secret: str | bytes) -> str:
        """Have every member accept one more secret (text or bytes of 32 to 4,096 bytes); its identifier. It travels sealed
        under secrets that the members have. Members that join or come back later are given it too.

        Raises
        ------
        BadConfig: too short or long, the ring is full (32), or the mesh has no secret at all.
        """
        rotation = self._core.assembly.rotation
        await self._core.turn()
        self._core.driver.check()
        key, directives = add_secret(rotation, secret, self._core.now())
        self._core.driver.command(rotation, directives)
        return key

    async def spread(self, key: str) -> None:
        """Wait until every member that can be reached has said that it holds a secret. Without limit of its own."""
        rotation = self._core.assembly.rotation
        data = key_of(key)
        while True:
            self._core.driver.command(rotation, rotation.inquire(self._core.now()))
            if not rotation.blocking_use(data):
                await trio.lowlevel.checkpoint()
                return
            await trio.sleep(LOOK)

    async def use(self, key: str, *, force: bool = False) -> None:
        """Have every member seal with a secret from now on; the others stay accepted.

        Raises
        ------
        SecretLacking: members that can be reached have not said that they hold it; `force` does it nevertheless.
        BadConfig: no such secret.
        """
        await self._act(use_secret, key, force)

    async def remove(self, key: str, *, force: bool = False) -> None:
        """Have no member accept a secret any more, from five seconds after it has heard of it.

        Raises
        ------
        SecretLacking: members that have not left, the dead too (they may be asleep), have not said that they hold the secret
        which seals now, and seal with it; `force` does it nevertheless: such a member is cut off, and must be started with the
        new secret. BadConfig: no such secret, or the one that seals.
        """
        await self._act(remove_secret, key, force)

    async def _act(self, act: Callable[[Rotation, str, bool, Instant], Directives], key: str, force: bool) -> None:
        rotation = self._core.assembly.rotation
        await self._core.turn()
        self._core.driver.check()
        self._core.driver.command(rotation, act(rotation, key, force, self._core.now()))
