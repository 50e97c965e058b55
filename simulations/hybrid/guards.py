"""What a simulated service may not do: anything whose result is not the seed's. It is refused where it is called.

    real time    time.time, monotonic, perf_counter, …; datetime.now, today     trio.current_time(), host.wall_time()
    blocking     time.sleep, input                                              await trio.sleep(…)
    threads      threading.Thread, trio.to_thread.run_sync, futures             a task
    processes    subprocess, os.fork, os.system                                 a host of its own
    network      socket, getaddrinfo                                            the peer, or a fake

`os.urandom`, and with it uuid4 and `secrets`, is not refused but answered from the seed; the module `random` is seeded.
The standard library, Trio and the tools of tests may read clocks: their log records and caches decide nothing.

Refused is what the tasks of a host call; other threads of the process notice nothing. Names are replaced in their modules, and
in modules that have imported them by name, for as long as a simulation runs. Sockets and processes are refused by an audit
hook, which Python cannot take back: it stays, and lets everything pass outside of a host."""

from __future__ import annotations

import datetime
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from types import ModuleType
from typing import Any, NoReturn

import trio

__all__ = ["NotSimulatedError", "armed", "entropy", "guarded"]


class NotSimulatedError(Exception):
    """A simulated service called for something that is not in its world; the message says what to use instead."""


_armed: set[int] = set()
"""The threads in which tasks of hosts run."""
_entropy: dict[int, Random] = {}
"""What answers `os.urandom`, by thread."""

OURS = {"mesh", "crdt", "coordination", "simulations", "trio", "outcome", "sniffio", "cbor2"}
TOOLS = {"coverage", "hypothesis", "_pytest", "pluggy", "pytest", "xdist"}
"""Of tests: they measure what happens round a service, also in its threads (a collection of garbage, say)."""
TRUSTED = sys.stdlib_module_names | OURS | TOOLS
CLOCKS = ("time", "monotonic", "perf_counter", "process_time", "thread_time")
AUDITED = {
    "socket.__new__": "a socket",
    "socket.getaddrinfo": "name resolution",
    "socket.gethostbyname": "name resolution",
    "subprocess.Popen": "another process",
    "os.fork": "another process",
    "os.forkpty": "another process",
    "os.posix_spawn": "another process",
    "os.system": "another process",
    "builtins.input": "input()",
}
INSTEAD = {
    "a socket": "hosts reach each other through their peers; put a fake in place of anything else",
    "name resolution": "addresses of hosts are numeric; put a fake in place of anything else",
    "another process": "give it a host of its own, or put a fake in its place",
    "input()": "no one is there to answer",
}


@contextmanager
def armed() -> Iterator[None]:
    """In the thread that calls this, tasks of a host run now."""
    me = threading.get_ident()
    _armed.add(me)
    try:
        yield
    finally:
        _armed.discard(me)


@contextmanager
def entropy(source: Random) -> Iterator[None]:
    """In the thread that calls this, `os.urandom` answers from `source`."""
    me = threading.get_ident()
    _entropy[me] = source
    try:
        yield
    finally:
        _entropy.pop(me, None)


def _refuse(what: str, instead: str) -> NoReturn:
    raise NotSimulatedError(f"{what} in a simulated service: it would differ from run to run. Instead: {instead}")


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event in AUDITED and threading.get_ident() in _armed:
        _refuse(AUDITED[event], INSTEAD[AUDITED[event]])


_hooked = False


def _trusted() -> bool:
    """Whether the guard was called by the standard library or by what runs the simulation."""
    name = str(sys._getframe(2).f_globals.get("__name__", ""))
    return name.partition(".")[0] in TRUSTED


def _clock(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    def guard(*arguments: Any) -> Any:
        if threading.get_ident() in _armed and not _trusted():
            _refuse(f"time.{name}()", "trio.current_time(), or host.wall_time()")
        return original(*arguments)

    return guard


def _sleep(seconds: float) -> None:
    if threading.get_ident() in _armed:
        _refuse("time.sleep()", "await trio.sleep(…)")
    _real_sleep(seconds)


def _start(thread: threading.Thread) -> None:
    if threading.get_ident() in _armed:
        _refuse("a thread", "start a task in a nursery")
    _real_start(thread)


async def _to_thread(*arguments: Any, **options: Any) -> Any:
    if threading.get_ident() in _armed:
        _refuse("trio.to_thread.run_sync()", "call it directly, or put a fake in its place")
    return await _real_to_thread(*arguments, **options)


def _urandom(size: int, /) -> bytes:
    source = _entropy.get(threading.get_ident())
    return source.randbytes(size) if source is not None else _real_urandom(size)


_real_sleep = time.sleep
_real_start = threading.Thread.start
_real_to_thread: Callable[..., Any] = trio.to_thread.run_sync
_real_urandom = os.urandom
_real_datetime = datetime.datetime
_real_date = datetime.date


class _Disguise(type):
    """Passes for the class that it stands in for."""

    real: type

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.real)


def _today(self: Any, *arguments: Any) -> Any:
    if threading.get_ident() in _armed and not _trusted():
        _refuse("the date and time of day", "trio.current_time(), or host.wall_time()")
    return self.real.now(*arguments) if hasattr(self.real, "now") else self.real.today()


def _dated(original: Any) -> Any:
    """A stand-in for `datetime` or `date` that makes ordinary ones and does not tell what day it is."""

    def create(cls: Any, *arguments: Any, **options: Any) -> Any:
        return original(*arguments, **options)

    body: dict[str, Any] = {"real": original, "__new__": create, "today": classmethod(_today)}
    if hasattr(original, "now"):
        body |= {"now": classmethod(_today), "utcnow": classmethod(_today)}
    return _Disguise(original.__name__, (original,), body)


def _replacements() -> list[tuple[Any, Any, list[tuple[Any, str]]]]:
    """(the original, what stands in for it, where it is known under which name)."""
    replaced: list[tuple[Any, Any, list[tuple[Any, str]]]] = []
    for base in CLOCKS:
        for name in (base, f"{base}_ns"):
            original = getattr(time, name)
            replaced.append((original, _clock(original, name), [(time, name)]))
    replaced += [
        (_real_sleep, _sleep, [(time, "sleep")]),
        (_real_to_thread, _to_thread, [(trio.to_thread, "run_sync")]),
        (_real_datetime, _dated(_real_datetime), [(datetime, "datetime")]),
        (_real_date, _dated(_real_date), [(datetime, "date")]),
        (_real_urandom, _urandom, [(os, "urandom"), (random, "_urandom")]),
    ]
    stand_ins = {id(original): places for original, _, places in replaced}
    for module in list(sys.modules.values()):
        if not isinstance(module, ModuleType) or module.__name__.partition(".")[0] in TRUSTED - {"trio"}:
            continue
        for name, value in list(vars(module).items()):
            places = stand_ins.get(id(value))
            if places is not None and (module, name) not in places:
                places.append((module, name))
    return replaced


@contextmanager
def guarded(seed: int) -> Iterator[None]:
    """While a simulation with hosts runs. Not in two threads at once."""
    global _hooked  # noqa: PLW0603 -- an audit hook is for the whole life of the process
    if not _hooked:
        _hooked = True
        sys.addaudithook(_audit)
    replaced = _replacements()
    state = random.getstate()
    random.seed(seed)
    setattr(threading.Thread, "start", _start)  # noqa: B010 -- a method is replaced
    for _, stand_in, places in replaced:
        for place, name in places:
            setattr(place, name, stand_in)
    try:
        yield
    finally:
        for original, _, places in replaced:
            for place, name in places:
                with suppress(AttributeError):
                    setattr(place, name, original)
        setattr(threading.Thread, "start", _real_start)  # noqa: B010
        random.setstate(state)
