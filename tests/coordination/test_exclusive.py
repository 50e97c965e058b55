"""`@exclusive`: in one place of the mesh at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import trio

from coordination import AlreadyHeld, BadConfig, BadKey, LeaseLost, exclusive, open_peer
from tests.coordination.meshes import mesh_of


async def test_one_at_a_time_and_arguments_in_the_name() -> None:
    async with mesh_of(3) as (a, b, _):
        inside: list[str] = []

        def job(peer: Any) -> Any:
            @exclusive(peer, "cron/{day}", ttl=5)
            async def run(day: str, count: int = 1) -> int:
                """What it does."""
                assert day not in inside
                inside.append(day)
                assert [each.name for each in await peer.locks(f"cron/{day}")] == [f"cron/{day}"]
                await trio.sleep(0.05)
                inside.remove(day)
                return count

            return run

        results: list[int | None] = []

        async def call(peer: Any, *args: Any, **kwargs: Any) -> None:
            results.append(await job(peer)(*args, **kwargs))

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for day in ("monday", "tuesday"):
                    nursery.start_soon(call, a, day)
                    nursery.start_soon(call, b, day, 2)
        assert sorted(result or 0 for result in results) == [1, 1, 2, 2]
        assert (job(a).__name__, job(a).__doc__) == ("run", "What it does.")


async def test_skip_runs_nothing_while_another_does() -> None:
    async with mesh_of(3) as (a, b, _):
        ran: list[str] = []

        @exclusive(b, "cron", skip=True, ttl=5)
        async def run() -> str:
            ran.append("it")
            return "done"

        async with a.lock("cron", ttl=5):
            assert await run() is None
        assert ran == []
        with trio.fail_after(2):
            while await run() is None:
                pass
        assert ran == ["it"]


async def test_errors_and_losses_pass_on() -> None:
    async with open_peer() as peer:

        @exclusive(peer, "cron", max_hold=0.1)
        async def run(what: str) -> None:
            if what == "fail":
                raise ZeroDivisionError
            await trio.sleep_forever()

        with pytest.raises(ZeroDivisionError):
            await run("fail")
        with pytest.raises(LeaseLost, match="max_hold"):
            await run("stay")
        assert await peer.locks() == ()

        @exclusive(peer, "cron")
        async def outer() -> None:
            with pytest.raises(AlreadyHeld):
                await run("fail")

        await outer()


@dataclass
class Job:
    id: int


async def test_names() -> None:
    async with open_peer() as peer:
        seen: list[str] = []

        @exclusive(peer, "a/{job.id}/{rest[0]}/{more}/{flag}")
        async def run(job: Job, *rest: int, flag: bool = True, **others: str) -> None:
            seen.extend(each.name for each in await peer.locks())

        await run(Job(7), 3, more="x")
        assert seen == ["a/7/3/x/True"]
        with pytest.raises(BadKey, match="refers to 'dya', which is no parameter: day"):

            @exclusive(peer, "cron/{dya}")
            async def wrong(day: str) -> None: ...


async def test_what_fails_before_it_is_awaited_leaves_the_lock() -> None:
    async with open_peer() as peer:

        @exclusive(peer, "job")
        def broken() -> Any:
            raise KeyError("mine")

        @exclusive(peer, "job")
        def no_coroutine() -> Any:
            return 7

        for work, kind in ((broken, KeyError), (no_coroutine, TypeError)):
            with pytest.raises(kind):
                await work()
            assert await peer.lock("job").holder() is None


async def test_names_that_cannot_be_made_are_refused() -> None:
    async with open_peer() as peer:
        for name in ("cron/{day", "}", "cron/{night}", "", 7):
            with pytest.raises(BadKey):

                @exclusive(peer, name)  # type: ignore[arg-type]
                async def run(day: Any) -> None: ...

        ran = []
        for name in ("{day.missing}", "{day[9]}", "{day[x]}", "{day:%%%}", "{day!r:>9999}"):

            @exclusive(peer, name)
            async def made(day: Any) -> None:
                ran.append(day)

            with pytest.raises(BadKey):
                await made("monday")

        with pytest.raises(BadConfig, match="generator"):

            @exclusive(peer, "job")
            async def steps() -> Any:
                yield 1

        assert not ran
