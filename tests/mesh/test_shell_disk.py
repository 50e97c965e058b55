"""The disk task of the shell: one batch at a time, in a thread, waited for at the end."""

from __future__ import annotations

import threading

import trio

from mesh.memory import Tables
from mesh.outputs import Commit
from mesh.shell.driver import FLUSH_SECONDS
from tests.mesh.shell_fakes import SECONDS, give, opened


class Slow:
    """A store whose commits last until they are let go, and may fail."""

    def __init__(self) -> None:
        self.tables: Tables = {}
        self.begun: list[int] = []
        self.done: list[int] = []
        self.fails: set[int] = set()
        self.threads: set[int] = set()
        self.go = threading.Semaphore(0)

    def commit(self, commit: Commit) -> None:
        self.begun.append(commit.number)
        self.threads.add(threading.get_ident())
        assert self.go.acquire(timeout=SECONDS)
        if commit.number in self.fails:
            raise OSError(28, "No space left on device")
        self.done.append(commit.number)

    async def until_begun(self, number: int) -> None:
        with trio.fail_after(SECONDS):
            while number not in self.begun:
                await trio.sleep(0.001)


async def test_batches_are_committed_in_a_thread_and_answered() -> None:
    store = Slow()
    store.fails.add(2)
    async with opened(store=store) as driver:
        give(driver, Commit(1, (("t", b"a", b"1"),)))
        await store.until_begun(1)
        give(driver)  # the loop goes on meanwhile
        store.go.release()
        assert await driver.node.hears("committed") == (1,)
        give(driver, Commit(2, ()))
        store.go.release()
        assert (await driver.node.hears("commit failed")) == (2, "[Errno 28] No space left on device")
        assert driver.stats()["shell.failed_commits"] == 1
    assert store.done == [1]
    assert threading.get_ident() not in store.threads


async def test_leaving_waits_for_the_last_commit() -> None:
    store = Slow()
    ended = []

    async def let_go() -> None:
        await trio.sleep(FLUSH_SECONDS + 0.1)  # longer than the node is given to say its last
        ended.append(list(store.done))
        store.go.release()

    async with trio.open_nursery() as nursery:
        async with opened(store=store) as driver:
            give(driver, Commit(1, ()))
            await store.until_begun(1)
            nursery.start_soon(let_go)
        assert ended == [[]]
        assert store.done == [1]


async def test_what_waits_for_the_last_commit_is_still_said() -> None:
    store = Slow()
    async with opened(store=store) as driver:
        driver.node.last_words = [Commit(1, ())]
        store.go.release()
    assert driver.node.of("committed") == [(1,)]


async def test_an_unexpected_error_of_the_store_halts_the_driver() -> None:
    class Broken(Slow):
        def commit(self, commit: Commit) -> None:
            raise ZeroDivisionError("a bug")

    error = None
    try:
        async with opened(store=Broken()) as driver:
            give(driver, Commit(1, ()))
            await trio.sleep(SECONDS)
    except ZeroDivisionError as raised:
        error = raised
    assert error is not None
