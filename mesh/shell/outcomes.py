"""Which one exception leaves the context of a driver: that of its body, or the reason for which its node halted."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import trio

__all__ = ["leaves", "outcome_of", "raise_bare"]

logger = logging.getLogger("mesh")


def outcome_of(error: BaseException | None, reason: Exception | None, halted_first: bool) -> BaseException | None:
    """What leaves the context whose body ended with `error` and whose node halted for `reason`.

    An exception of the body wins if the body ended first."""
    others = _others(error, reason)
    if reason is None or (others and not (halted_first and all(isinstance(each, Exception) for each in others))):
        if reason is not None:
            logger.error("the node halted while its body failed for another reason", exc_info=reason)
        return error
    return reason


def raise_bare(outcome: BaseException | None, error: BaseException | None) -> None:
    """Raise it, alone; what the body raised after a halt stands in its `__context__`."""
    if outcome is None:
        return
    context = error if outcome is not error and _others(error, outcome) else outcome.__context__
    try:
        raise outcome
    finally:
        outcome.__context__ = context
        del error, outcome, context  # or the exceptions hold this frame, and it holds them


def _others(error: BaseException | None, reason: BaseException | None) -> list[BaseException]:
    """The exceptions in `error` that are neither the reason of the halt nor a cancellation."""
    return [each for each in leaves(error) if each is not reason and not isinstance(each, trio.Cancelled)]


def leaves(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions of a group of groups; itself, if it is none."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    elif error is not None:
        yield error
