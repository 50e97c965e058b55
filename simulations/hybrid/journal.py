"""What services log goes into the trace, at the true moment and under the name of their host, and not to the terminal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from simulations.trace import Trace

__all__ = ["journalled"]


class Journal(logging.Handler):
    """Parameters
    ----------
    speaker: the name of the host whose task logs; None if it is not one.
    """

    def __init__(self, trace: Trace, now: Callable[[], int], speaker: Callable[[], str | None]) -> None:
        super().__init__()
        self._trace = trace
        self._now = now
        self._speaker = speaker

    def emit(self, record: logging.LogRecord) -> None:
        name = self._speaker()
        if name is not None:
            self._trace.add(self._now(), name, "log", f"{record.levelname.lower()} {record.name}: {record.getMessage()}")
        elif logging.root.handlers == [self] and logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)  # as if this one were not there


@contextmanager
def journalled(trace: Trace, now: Callable[[], int], speaker: Callable[[], str | None]) -> Iterator[None]:
    """While a simulation with hosts runs. What else is set up to handle log records gets them as ever."""
    journal = Journal(trace, now, speaker)
    logging.root.addHandler(journal)
    try:
        yield
    finally:
        logging.root.removeHandler(journal)
