"""Nonsense for every argument of every public call: a typed error or an answer, and the peer lives on.

What is handed to a node unchecked comes up where it is encoded, in the node's own turn, and ends the whole node."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio

from coordination import BadKey, BadTTL, Client, MeshError, Peer, connect, open_peer
from tests.coordination.meshes import SECRET

NONSENSE: tuple[Any, ...] = (
    None, b"x", b"", 0, 7, -1, 1 << 70, 10**400, -(10**400), 1.5, math.nan, math.inf, True, False, "", "x", "\0", "\ud800",
    "é" * 257, "x" * 600, [], ["x"], [None], {}, {"a": None}, {1: 2}, set(), object(),
)  # fmt: skip
GOOD: dict[str, Any] = {"parties": 1, "limit": 2, "values": {"a": 1}, "to": "p", "tags": {}, "n": 1, "keys": ["k"]}
"""For the other arguments of the call; any name will do for the rest."""
APART = {"leave", "ask_to_leave", "asked_to_leave", "reset_roster", "secrets", "synced", "enter", "writer", "covers", "lost"}
"""What ends the peer or waits for ever; and what is no user's."""
WAITS = 0.05
"""Seconds: an argument may be good, and then one waits for what never comes."""


def calls(user: Peer | Client) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public method of a peer or client, and of all that they give."""
    given: dict[str, Any] = {"": user, "kv.": user.kv}
    for maker in ("lock", "rwlock", "election", "counter", "gauge", "atomic"):
        given[f"{maker}."] = getattr(user, maker)("n")
    given |= {"semaphore.": user.semaphore("n", 2), "barrier.": user.barrier("n", 1), "lease.": user.lease()}
    if isinstance(user, Peer):
        given |= {"budget.": user.budget("b", 10), "limiter.": user.limiter("l", rate=5)}
    for of, thing in given.items():
        for name in dir(type(thing)):
            if not name.startswith("_") and name not in APART and callable(call := getattr(type(thing), name)):
                yield of + name, call.__get__(thing)


async def used(made: Any) -> None:
    """Wait for it, enter it or read it, whatever it is for."""
    if inspect.isawaitable(made):
        made = await made
    if isinstance(made, AbstractAsyncContextManager):
        async with made as inside:
            if hasattr(inside, "__anext__"):
                await anext(inside, None)


async def tried(name: str, call: Callable[..., Any]) -> list[str]:
    """What came of it, where that is no typed error."""
    wrong = []
    parameters = [each for each in inspect.signature(call).parameters.values() if each.kind is not each.VAR_KEYWORD]
    needed = {each.name: GOOD.get(each.name, "k") for each in parameters if each.default is each.empty}
    for parameter in parameters:
        for nonsense in NONSENSE:
            try:
                with trio.move_on_after(WAITS):
                    await used(call(**{**needed, parameter.name: nonsense}))
            except MeshError:
                pass
            except Exception as error:
                wrong.append(f"{name}({parameter.name}={str(nonsense)[:20]!r}): {error!r}")
    return wrong


@pytest.mark.parametrize("thin", [False, True])
async def test_nonsense_is_refused_by_one_typed_error_and_ends_nobody(thin: bool) -> None:
    wrong: list[str] = []
    async with (
        open_peer(name="p", bind="127.0.0.1:0", secret=SECRET, fresh=True, profile="local") as peer,
        connect(peer.address, secret=SECRET) as client,
    ):
        user: Peer | Client = client if thin else peer
        for name, call in calls(user):
            wrong += await tried(name, call)
        assert not wrong, "\n".join(wrong)
        for alive in (peer, client):
            async with alive.lock("n") as held:
                assert held.valid()


async def test_a_name_of_the_longest_size_is_explained_and_watched_like_any_other() -> None:
    async with (
        open_peer(name="p", bind="127.0.0.1:0", secret=SECRET, fresh=True, profile="local") as peer,
        connect(peer.address, secret=SECRET) as client,
    ):
        for name in ("x" * 512, "é" * 256):
            async with peer.semaphore(name, 3) as held, peer.lock(name):
                for user in (peer, client):
                    found = await user.explain(f"semaphore/{name}")
                    assert [token for _, token, _, _ in found.holders] == [held.token]
                    assert (await user.explain(name)).kind == "lock"
                    assert (await user.explain(name)).holders
                    with pytest.raises(BadKey, match="above 512"):
                        await user.explain(f"semaphore/{name}x")
                    async with user.watch(lock=f"semaphore/{name}", snapshot=True) as changes:
                        with trio.fail_after(5):
                            assert (await anext(changes)).kind == "put"


@pytest.mark.parametrize("seconds", [10**400, -(10**400)], ids=["above", "below"])
async def test_no_int_is_too_large_to_be_told_out_of_range(seconds: int) -> None:
    async with open_peer() as peer:
        for make in (
            lambda: peer.lock("n", ttl=seconds),
            lambda: peer.lock("n", lock_delay=seconds),
            lambda: peer.lock("n", max_hold=seconds),
            lambda: peer.lease(ttl=seconds),
        ):
            with pytest.raises(BadTTL, match=r"out of range|together are above"):
                make()
