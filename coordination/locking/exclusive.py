"""`@exclusive(peer, "cron/{day}")`: a function that runs in one place of the mesh at a time."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from string import Formatter
from typing import ParamSpec, Protocol, TypeVar

from coordination.arguments.checks import check_key
from coordination.errors import BadConfig, BadKey
from coordination.locking.locks import Lock

__all__ = ["exclusive"]

P = ParamSpec("P")
T = TypeVar("T")


class Lockable(Protocol):
    """A peer, or a thin client."""

    def lock(self, name: str, *, ttl: float = 10.0, lock_delay: float = 0.0, max_hold: float | None = None) -> Lock: ...


def exclusive(
    peer: Lockable,
    name: str,
    *,
    ttl: float = 10.0,
    skip: bool = False,
    lock_delay: float = 0.0,
    max_hold: float | None = None,
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T | None]]]:
    """Let an async function run only while it holds a lock of this name; it is cancelled if the lock is lost.

    Parameters
    ----------
    name: of the lock. The arguments of the call are formatted into it, defaults included: `"cron/{day}"`, `"{job.id}"`.
    skip: do not wait for who holds it, but return None without running.
    ttl, lock_delay, max_hold: as for `peer.lock`.

    Raises
    ------
    BadKey: the name is no format, or refers to what is no parameter of the function. BadConfig: the function is a generator.
    The call: as `peer.lock` and its `async with`; BadKey if no name can be made of its arguments.
    """

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T | None]]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise BadConfig(
                f"{function.__qualname__} is a generator, which begins only when it is read: decorate what reads it"
            )
        signature = inspect.signature(function)
        check_fields(name, signature)

        @wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T | None:
            lock = peer.lock(
                formatted(name, signature.bind(*args, **kwargs)), ttl=ttl, lock_delay=lock_delay, max_hold=max_hold
            )
            if await lock.enter(wait=not skip) is None:
                return None
            return await guarded(lock, lambda: function(*args, **kwargs))

        return run

    return decorate


async def guarded(lock: Lock, work: Callable[[], Awaitable[T]]) -> T:
    """Do it, and leave the lock that was entered. (What is no coroutine function may raise before it is awaited.)"""
    try:
        result = await work()
    except BaseException as error:
        await lock.leave(type(error), error, error.__traceback__)  # raises `LeaseLost` if it was cancelled for that
        raise
    await lock.leave(None, None, None)
    return result


def check_fields(name: str, signature: inspect.Signature) -> None:
    parameters = signature.parameters
    open_ended = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    for _, field, _, _ in fields_of(name):
        root = (field or "").partition(".")[0].partition("[")[0]
        if field is not None and root not in parameters and not open_ended:
            raise BadKey(
                f"the lock name {name!r} refers to {field!r}, which is no parameter: {', '.join(parameters) or 'none'}"
            )


def fields_of(name: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(Formatter().parse(check_key(name, "lock name")))
    except ValueError as problem:
        raise BadKey(f"the lock name {name!r} is no format: {problem}") from None


def formatted(name: str, call: inspect.BoundArguments) -> str:
    call.apply_defaults()
    values = dict(call.arguments)
    for key, parameter in call.signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            values.update(values.pop(key))
    try:
        return name.format(**values)
    except (AttributeError, LookupError, TypeError, ValueError) as problem:
        raise BadKey(f"the lock name {name!r} cannot be made of the arguments: {problem}") from None
