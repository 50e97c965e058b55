"""Who is answered at once looks for the next datagram before it sleeps, and nobody else does."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import trio

from mesh.membership.profile import PROFILES
from mesh.outputs import Commit, Transmit
from mesh.shell.polling import CROWDED, LONE, MOST_QUICK, QUICK, REST_FIRST, REST_LONGEST, Polling, polling
from mesh.shell.turns import Turns
from tests.mesh.shell_fakes import SECONDS, give, opened

US = 1_000
WINDOW = 400 * US
LOOK = 2 * US
"""What one look takes."""
LONG = 1.0
"""Seconds for which the loop would sleep."""


class Line:
    """A socket that is looked at, on a clock that goes on with each look alone."""

    def __init__(self, udp: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1
        self.counts: Counter[str] = Counter()
        self.polling = Polling(udp, WINDOW, self.counts)
        self.took = LOOK
        self._udp = udp
        self._due = 1 << 62
        monkeypatch.setattr("mesh.shell.polling.monotonic_ns", lambda: self.now)
        monkeypatch.setattr("mesh.shell.polling.os.sched_yield", self._look)

    def _look(self) -> None:
        self.now += self.took
        self._come()

    def _come(self) -> None:
        if self.now >= self._due:
            self._due = 1 << 62
            self._udp.sendto(b"an answer", self._udp.getsockname())

    def wait(self, answered: int, timeout: float = LONG, inputs: int = 1) -> int:
        """One wait of a loop, in which a datagram comes after so many ns; how many ns of it were spent looking."""
        began = self.now
        self._due = began + answered
        self.polling.waits(timeout, inputs)
        looked = self.now - began
        self.now = max(self.now, self._due if self._due < 1 << 62 else 0)  # it sleeps until then
        self._come()
        self.polling.waited(self.now)
        assert self._udp.recv(64) == b"an answer"
        self.now += 50 * US  # and works
        return looked

    def trust(self, quick: int = MOST_QUICK) -> None:
        for _ in range(quick):
            self.wait(100 * US)

    def until_it_looks(self, answered: int) -> int:
        """For how many ns it has not looked for such answers."""
        began = self.now
        while not self.wait(answered):
            pass
        return self.now - began


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(SECONDS)
        yield Line(udp, monkeypatch)


def test_it_looks_after_quick_answers_and_ends_as_soon_as_there_is_one(line: Line) -> None:
    assert [line.wait(100 * US) for _ in range(QUICK)] == [0] * QUICK
    assert line.wait(100 * US) == 100 * US
    assert line.counts == {"busy_polls": 1}


def test_at_rest_nothing_is_looked_for(line: Line) -> None:
    assert not any(line.wait(10_000 * US) for _ in range(1_000))
    for _ in range(200):  # bursts that end sooner than they count
        assert not any(line.wait(100 * US) for _ in range(QUICK - 1))
        assert not any(line.wait(10_000 * US) for _ in range(4))
    assert not line.counts


def test_looks_in_vain_end_it(line: Line) -> None:
    line.trust()
    line.counts.clear()
    spent = [line.wait(10_000 * US) for _ in range(100)]
    assert line.counts["busy_polls"] == line.counts["busy_polls_in_vain"] == sum(map(bool, spent)) == 4
    assert max(spent) <= WINDOW + LOOK
    assert not any(line.wait(100 * US) for _ in range(QUICK // 2)), "it has to be earned again"


def test_one_late_answer_among_quick_ones_does_not_end_it(line: Line) -> None:
    line.trust()
    line.wait(500 * US)
    assert line.wait(100 * US) == 100 * US


def test_where_another_process_has_the_core_it_rests_for_ever_longer(line: Line) -> None:
    line.trust()
    line.counts.clear()
    line.took = 2 * CROWDED
    rests = [line.until_it_looks(350 * US) for _ in range(14)]
    assert line.counts["busy_polls_crowded"] == line.counts["busy_polls"] == 14
    for last, rest in pairwise(rests[1:]):
        assert rest >= min(2 * last - 3 * WINDOW, REST_LONGEST) and rest <= REST_LONGEST + WINDOW
    assert rests[-1] >= REST_LONGEST


def test_and_less_after_answers_that_were_found(line: Line) -> None:
    line.trust()
    line.took = 2 * CROWDED
    assert line.wait(350 * US)
    line.took = LOOK
    assert REST_FIRST <= line.until_it_looks(100 * US) <= REST_FIRST + WINDOW
    for _ in range(300):
        assert line.wait(100 * US)
    line.took = 2 * CROWDED
    assert line.wait(350 * US)
    line.took = LOOK
    assert line.until_it_looks(100 * US) <= REST_FIRST + WINDOW, "once in a while somebody has the core anywhere"


def test_who_has_much_to_do_in_a_turn_does_not_look(line: Line) -> None:
    line.trust()
    line.counts.clear()
    assert not any(line.wait(100 * US, inputs=LONE + 1) for _ in range(5))
    assert not line.wait(100 * US) and not line.counts


def test_a_timer_that_is_due_is_not_kept_waiting(line: Line) -> None:
    line.trust()
    assert line.wait(100 * US, timeout=WINDOW / 1e9) == 0


def test_what_else_wakes_the_loop_counts_for_no_answer(line: Line) -> None:
    for _ in range(3 * QUICK):
        line.polling.waits(LONG, 1)
        line.now += 100 * US
        line.polling.waited(line.now)
    line.wait(100 * US)
    assert not line.counts
    line.trust(QUICK - 1)
    line.polling.waits(WINDOW / 1e9, 1)
    line.polling.waited(line.now + 100 * US)
    line.wait(100 * US)
    assert not line.counts, "nor is it neutral"


def test_only_on_one_machine_and_only_where_the_system_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name: profile.busy_poll > 0 for name, profile in PROFILES.items()} == {"lan": False, "local": True, "wan": False}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        assert polling(udp, 0, Counter()) is None
        assert polling(udp, WINDOW, Counter()) is not None
        monkeypatch.delattr("mesh.shell.polling.select.poll")
        assert polling(udp, WINDOW, Counter()) is None


# --- in a driver ---------------------------------------------------------------------------------------------------


class Looks:
    """In place of `Polling`: what it is told."""

    def __init__(self) -> None:
        self.waited_for: list[float] = []
        self.work: list[int] = []

    def waits(self, timeout: float, inputs: int) -> None:
        self.waited_for.append(timeout)
        self.work.append(inputs)

    def waited(self, now: int) -> None:
        pass


class Idle:
    """A driver that sends nothing."""

    commits = False
    wakes = False

    def hold(self, held: bool) -> None: ...

    def flush(self) -> bool:
        return self.wakes

    def committing(self) -> bool:
        return self.commits


def test_nothing_is_looked_for_while_others_run_or_a_commit_is_under_way() -> None:
    looks, driver = Looks(), Idle()
    turns = Turns(driver, looks)  # type: ignore[arg-type]
    turns.before_io_wait(0)
    assert looks.waited_for == []
    turns.before_io_wait(LONG)
    assert looks.waited_for == [LONG]
    driver.commits = True
    turns.before_io_wait(LONG)
    assert looks.waited_for == [LONG]


async def test_nor_when_a_task_waits_to_be_run() -> None:
    looks, driver = Looks(), Idle()
    turns = Turns(driver, looks)  # type: ignore[arg-type]
    driver.wakes = True
    turns.inputs = 1
    turns.before_io_wait(LONG)
    assert looks.waited_for == []
    turns.before_io_wait(LONG)
    assert looks.waited_for == [LONG]


async def test_nor_by_several_nodes_of_one_loop() -> None:
    looks = Looks()
    one, other = Turns(Idle(), looks), Turns(Idle())  # type: ignore[arg-type]
    one.begin()
    other.begin()
    one.before_io_wait(LONG)
    assert looks.waited_for == []
    other.end()
    one.before_io_wait(LONG)
    assert looks.waited_for == [LONG]
    one.end()


async def test_datagrams_that_are_read_together_are_as_much_work_as_there_are_of_them() -> None:
    async with opened() as driver:
        looks = Looks()
        driver._turns._polling, driver._turns.work = looks, 0  # type: ignore[assignment]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            for turn in range(2):  # the first one is read alone, before it is known that there are many
                for n in range(20):
                    far.sendto(b"%d" % n, ("127.0.0.1", int(driver.bound.rpartition(":")[2])))
                await driver.node.hears("datagram", 20 * (turn + 1))
                await trio.sleep(0.001)  # the loop waits
        assert [work for work in looks.work if work] == [20, 20]


class OwnError(BaseException):
    """Of a handler of signals."""


def test_what_a_signal_raises_meanwhile_is_not_lost() -> None:
    """Trio would drop the instrument, and nothing that is held would leave any more."""

    class Interrupted(Looks):
        def waits(self, timeout: float, inputs: int) -> None:
            raise OwnError

    async def main() -> None:
        async with opened() as driver:
            driver._turns._polling = Interrupted()  # type: ignore[assignment]
            await trio.sleep(SECONDS)

    with pytest.raises(trio.TrioInternalError) as raised:
        trio.run(main)
    cause = raised.value.__cause__
    assert isinstance(cause, BaseExceptionGroup) and cause.subgroup(OwnError) is not None


async def test_a_driver_whose_instrument_was_dropped_ends_in_peace() -> None:
    async with opened() as driver:
        trio.lowlevel.remove_instrument(driver._turns)


async def test_a_driver_whose_commit_is_under_way_says_so() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        tables: Any = {}

        def commit(self, commit: Commit) -> None:
            begun.set()
            assert go_on.wait(SECONDS)

    async with opened(store=Slow()) as driver:
        assert not driver.committing()
        give(driver, Commit(1, ()))
        assert driver.committing()
        go_on.set()
        await driver.node.hears("committed")
        assert not driver.committing()


async def test_a_driver_that_is_answered_again_and_again_looks_and_hears_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.shell.polling.CROWDED", 1 << 60)  # however slow the machine is, and however busy
    rounds = 300
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        far.settimeout(SECONDS)
        asked: list[bytes] = []

        def answer() -> None:
            for _ in range(rounds):
                data, address = far.recvfrom(64)
                asked.append(data)
                far.sendto(data, address)

        async with opened(busy_poll=1_000_000 * US) as driver:
            target = f"127.0.0.1:{far.getsockname()[1]}"
            node = driver.node

            def ask_again(entry: tuple[Any, ...]) -> None:
                count = len(node.of("datagram"))
                if entry[0] == "datagram" and count < rounds:
                    node.kept.append(Transmit(target, b"%d" % count))

            node.react = ask_again
            thread = threading.Thread(target=answer)
            thread.start()
            node.kept.append(Transmit(target, b"0"))
            give(driver)
            await node.hears("datagram", rounds)
            await trio.to_thread.run_sync(thread.join)
            assert [data for data, _ in node.of("datagram")] == asked == [b"%d" % n for n in range(rounds)]
            assert driver.stats()["shell.busy_polls"] >= rounds - QUICK - 2
