"""The mesh's secrets, changed through a sponsor."""

from __future__ import annotations

import trio

from coordination.arguments.rotating import SecretStanding, key_of
from coordination.thin.core import ThinCore

__all__ = ["ThinSecrets"]

LOOK = 0.1
"""Seconds between two looks while something is waited for."""

ANSWERS = 1.0
"""Seconds for which `list` waits for members that have not said what they hold."""


class ThinSecrets:
    """As `coordination.secrets.Secrets`, of the node that acts for this client. Every call is a checkpoint."""

    __slots__ = ("_core",)

    def __init__(self, core: ThinCore) -> None:
        self._core = core

    async def _look(self) -> tuple[SecretStanding, ...]:
        rows = await self._core.ask("key_list")
        return tuple(
            [
                SecretStanding(key, primary, removed, tuple(lacking), tuple(unknown), tuple(using))
                for key, primary, removed, lacking, unknown, using in rows
            ]
        )

    async def list(self) -> tuple[SecretStanding, ...]:
        rows = await self._look()
        with trio.move_on_after(ANSWERS):
            while any(row.unknown for row in rows):
                await trio.sleep(LOOK)
                rows = await self._look()
        return rows

    async def add(self, secret: str | bytes) -> str:
        key: str = await self._core.ask("key_add", secret)
        return key

    async def spread(self, key: str) -> None:
        """Wait until every member that has not left has said that it holds a secret. Without limit of its own."""
        key = key_of(key).hex()
        while any(row.key == key and (row.lacking or row.unknown) for row in await self._look()):  # noqa: ASYNC110
            await trio.sleep(LOOK)

    async def use(self, key: str, *, force: bool = False) -> None:
        await self._core.ask("key_use", key, force)

    async def remove(self, key: str, *, force: bool = False) -> None:
        await self._core.ask("key_remove", key, force)
