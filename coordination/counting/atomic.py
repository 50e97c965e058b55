"""Atomic registers: one value, the same for everyone at every moment, also across crashes and partitions.

A register is kept by a majority of a group of voters, and its owner, one of them, serialises what is asked of it. Every
operation, a read too, is confirmed by a majority before it returns, so that all of them have one order that fits what each
caller saw (linearizability: Herlihy and Wing, 1990). The register is that of CASPaxos (Rystsov, 2018). On the minority side of
a partition nothing can be read or changed: use `peer.kv` for what must always be readable.

Without `state_dir` a voter that restarts reads the registers back from the others. If a majority of a register's voters
restart before they could, its value is gone, and everyone is told so (`MemoryLost`)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import trio

from coordination.agreed.atomics.atomic import Op
from coordination.agreed.vocabulary.events import Called, CallFailed
from coordination.arguments.calling import add_op, cas_op, encode_atomic, outcome_of, register_key, set_op
from coordination.core import Core
from coordination.errors import MeshError
from mesh.values import decode_value

__all__ = ["AtomicRegister"]


class AtomicRegister:
    """One register: `peer.atomic(name)`. It need not be created, and holds None until it is set.

    Every operation is a checkpoint, may be cancelled at any moment and leaves nothing behind; a change that was cancelled while
    it waited may have happened, or still happen. What several tasks of a process ask of one register travels together. While
    the mesh is not founded yet, operations wait without limit of their own: use `trio.fail_after`.

    Every operation raises
    ----------------------
    NoQuorum: no majority of the register's voters answered for 2 s. Nothing was changed.
    MemoryLost: a majority of them has lost its memory: the value is gone.
    Closed: this peer has ended.

    Changes raise also
    ------------------
    OutcomeUnknown: it was sent, and whether it happened cannot be known. A change is never applied twice."""

    __slots__ = ("_core", "_key", "name")

    def __init__(self, core: Core, name: str) -> None:
        self._core = core
        self._key = register_key(name)
        self.name = name

    async def get(self) -> Any:
        """The value at a moment between call and return; None if it was never set."""
        return decode_value(await self._call(None))

    async def set(self, value: Any) -> None:
        """Replace the value.

        Parameters
        ----------
        value: plain CBOR (None, bool, int, float, str, bytes, list, dict with text keys), at most 64 KiB encoded.

        Raises
        ------
        BadValue, TooLarge
        """
        await self._call(set_op(encode_atomic(value)))

    async def compare_and_set(self, old: Any, new: Any) -> bool:
        """Replace the value if it is `old`; whether it was. A register that was never set is None.

        Values are equal if they are of one type and equal: 1, 1.0 and True are three values. The order of keys in dicts does
        not count.

        Raises
        ------
        BadValue, TooLarge
        """
        done: bool = await self._call(cas_op(encode_atomic(old), encode_atomic(new)))
        return done

    async def add(self, n: int = 1) -> int:
        """Add to an integer, None counting as 0; the sum. `n` may be negative.

        Raises
        ------
        BadValue: `n`, or what the register holds, is no integer; nothing was changed. TooLarge: the sum is above 1 KiB.
        """
        total: int = await self._call(add_op(n, self.name))
        return total

    async def _call(self, op: Op | None) -> Any:
        core, caller = self._core, self._core.assembly.agreed.caller
        await trio.lowlevel.checkpoint_if_cancelled()
        core.driver.check()
        number = caller.next_call()
        mailbox = core.dispatch.call(number)
        try:
            with mailbox.expecting(Called, CallFailed) as waiting:
                core.driver.command(caller, caller.call(number, self._key, op, core.now()))
                event = await waiting.outcome()
        except BaseException:
            with suppress(MeshError):  # a peer that has ended asks for nothing
                core.driver.command(caller, caller.cancel(number, core.now()))
            raise
        finally:
            core.dispatch.called(number)
        assert isinstance(event, Called | CallFailed)
        return outcome_of(event, self.name)
