"""The order in which Trio runs tasks that are runnable together: from the seed.

Trio shuffles each batch on purpose. The two names that its own plugin for Hypothesis sets make the shuffle reproducible: the
batch is sorted first, and the dice are ours. They are private, so they are used behind a check; without them a simulation
still runs, but the same seed may take another course where two tasks of one host become runnable at the same moment
(`sweep(verify=True)` shows it)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import trio._core._run as _trio_run

__all__ = ["deterministic", "order_by"]

_NAMES = ("_ALLOW_DETERMINISTIC_SCHEDULING", "_r")
_run: Any = _trio_run
_known = all(hasattr(_run, name) for name in _NAMES)


@contextmanager
def deterministic() -> Iterator[None]:
    """While a simulation runs."""
    if not _known:
        warnings.warn("this version of Trio hides how it orders tasks: seeds may not repeat exactly", stacklevel=3)
        yield
        return
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = before


@contextmanager
def order_by(random: Random) -> Iterator[None]:
    """While one host has its turn: its dice, so that what happens at others does not shift its own order."""
    if not _known:
        yield
        return
    before, _run._r = _run._r, random
    try:
        yield
    finally:
        _run._r = before
