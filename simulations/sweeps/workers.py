"""Where runs are made: in any `concurrent.futures.Executor`, by default in processes of their own."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

__all__ = ["GARBAGE", "cores", "workers"]

GARBAGE = 50_000
"""Objects between two looks for garbage: hardly any of a world's is in cycles before it ends, and by default a look comes after
each 700."""


def cores() -> int:
    """How many processes this one may keep busy."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(executor: Executor | None, jobs: int | None) -> Iterator[Executor]:
    """The executor, which is left as it is; if there is none `jobs` processes (None: one a core), until the context ends."""
    if executor is not None:
        yield executor
        return
    with ProcessPoolExecutor(
        jobs or cores(),
        mp_context=get_context("spawn"),
        initializer=_begin,
    ) as pool:
        yield pool


def _begin() -> None:
    """In each worker. An interrupt is for who waits for them, and lets them end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(GARBAGE, 20, 10)
