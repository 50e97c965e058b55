"""Where runs are made: in any `concurrent.futures.Executor`, by default in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

__all__ = ["cores", "workers"]


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
        initializer=signal.signal,  # an interrupt is for who waits for them, and lets them end
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:
        yield pool
