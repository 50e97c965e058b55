"""What a simulated service may not do is refused where it is called; everyone else may."""

from __future__ import annotations

import datetime
import logging
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from datetime import datetime as now_by_name
from time import monotonic as clock_by_name
from time import sleep as sleep_by_name

import pytest
import trio

from mesh.shell.outcomes import leaves
from simulations import SECOND, World
from simulations.hybrid import Host, Hosts, NotSimulatedError, StuckError, loop
from tests.simulated.hybrid_service import alone


def calls(function: Callable[[], object]) -> Callable[[Host], Awaitable[None]]:
    async def service(host: Host) -> None:
        function()

    return service


SCOPE = {
    "__name__": "a_service",
    "ThreadPoolExecutor": ThreadPoolExecutor,
    "datetime": datetime,
    "os": os,
    "socket": socket,
    "subprocess": subprocess,
    "threading": threading,
    "time": time,
    "trio": trio,
}
BY_NAME = ("clock_by_name", "date", "now_by_name", "sleep_by_name")
"""Imported by their names into this module, as a service may have done."""


def scope() -> dict[str, object]:
    return {**SCOPE, **{name: globals()[name] for name in BY_NAME}}


FORBIDDEN = {
    "time.time()": r"time\.time\(\).*trio\.current_time",
    "time.monotonic()": r"time\.monotonic\(\)",
    "time.perf_counter_ns()": r"perf_counter_ns",
    "clock_by_name()": r"time\.monotonic\(\)",
    "datetime.datetime.now()": "the date and time of day",
    "datetime.datetime.now(datetime.UTC)": "the date and time of day",
    "now_by_name.now()": "the date and time of day",
    "date.today()": r"host\.wall_time",
    "time.sleep(0)": r"await trio\.sleep",
    "sleep_by_name(0)": r"await trio\.sleep",
    "threading.Thread(target=print).start()": "a thread.*task in a nursery",
    "ThreadPoolExecutor().submit(print)": "a thread",
    "socket.socket()": "a socket.*through their peers",
    "socket.create_connection(('127.0.0.1', 80))": "name resolution|a socket",
    "socket.getaddrinfo('example.org', 80)": "name resolution",
    "subprocess.run(['true'], check=True)": "another process",
    "os.system('true')": "another process",
    "input()": r"input\(\)",
}
"""What a service may not call, and what it is told."""


@pytest.mark.parametrize("source", FORBIDDEN)
def test_refused_where_it_is_called(source: str) -> None:
    call = compile(source, "service.py", "eval")
    with pytest.raises(NotSimulatedError, match=FORBIDDEN[source]) as caught:
        alone(calls(lambda: eval(call, scope())))
    assert any(str(entry.path).endswith("service.py") for entry in caught.traceback), "the call site is shown"


REFUSED_OF_TRIO = {
    "trio.to_thread.run_sync(print)": r"to_thread\.run_sync",
    "trio.Path('/tmp').exists()": r"to_thread\.run_sync",
    "trio.open_tcp_stream('127.0.0.1', 80)": "a socket|name resolution",
    "trio.run_process(['true'])": r"another process|to_thread\.run_sync",
    "trio.socket.getaddrinfo('example.org', 80)": r"to_thread\.run_sync|name resolution",
}


@pytest.mark.parametrize("source", REFUSED_OF_TRIO)
def test_refused_of_trio(source: str) -> None:
    async def service(host: Host) -> None:
        await eval(source, scope())

    with pytest.raises((NotSimulatedError, ExceptionGroup)) as caught:
        alone(service)
    (found,) = leaves(caught.value)
    assert isinstance(found, NotSimulatedError)
    assert re.search(REFUSED_OF_TRIO[source], str(found))


def test_others_may_meanwhile_and_all_may_afterwards() -> None:
    world = World(1)
    with Hosts(world) as hosts:
        hosts.add("n0", calls(lambda: None))
        hosts.start()
        assert time.monotonic() <= clock_by_name()
        assert datetime.datetime.now() <= now_by_name.now()
        assert isinstance(datetime.datetime(2026, 1, 2), now_by_name)
        assert len(os.urandom(5)) == 5
        world.run(SECOND)
        assert isinstance(world.now, int)
    for function in (time.time, time.monotonic, clock_by_name, sleep_by_name, os.urandom):
        assert not hasattr(function, "__wrapped__")
        assert function.__module__ in ("time", "posix")
    assert now_by_name is datetime.datetime
    assert type(datetime.datetime) is type


def test_dates_that_are_given_are_dates() -> None:
    made: list[object] = []

    def use() -> None:
        moment = now_by_name(2026, 11, 26, tzinfo=datetime.UTC)
        made.extend([moment.year, isinstance(moment, datetime.datetime), issubclass(now_by_name, date), type(moment).__name__])

    alone(calls(use))
    assert made == [2026, True, True, "datetime"]


def test_the_standard_library_may_read_clocks(caplog: pytest.LogCaptureFixture) -> None:
    alone(calls(lambda: logging.getLogger("mesh").warning("dated by the library")))
    assert "dated by the library" in caplog.text


def test_blocking_is_found_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STUCK_SECONDS", 0.3)
    gate = threading.Lock()
    gate.acquire()

    def block_here() -> None:
        gate.acquire()

    with pytest.raises(StuckError, match=r"(?s)simulated n0: its tasks have not come to wait.*block_here"):
        try:
            alone(calls(block_here))
        finally:
            gate.release()


def test_spinning_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STUCK_SECONDS", 0.3)
    over = threading.Event()

    async def service(host: Host) -> None:
        while not over.is_set():
            await trio.lowlevel.checkpoint()

    with pytest.raises(StuckError, match="spins without"):
        try:
            alone(service)
        finally:
            over.set()
