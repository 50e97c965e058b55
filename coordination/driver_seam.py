"""Which driver `open_peer` uses: a context variable, so that a simulation can put the same call into its world."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Protocol

from coordination.assembly import Assembly
from mesh.driver import Driver

__all__ = ["DRIVER", "DriverFactory", "Opened", "open_trio"]


class Opened(Protocol):
    """A driver at work, and what it drives."""

    driver: Driver[Any]
    assembly: Assembly


class DriverFactory(Protocol):
    """Opens a driver for a node that `build` makes once the address is known.

    `build` takes the address that others reach this node at (empty without a network), and the driver's sources: session,
    entropy, random, and the moment."""

    def __call__(
        self,
        build: Callable[..., Assembly],
        *,
        bind: str | None,
        advertise: str | None,
    ) -> AbstractAsyncContextManager[tuple[Driver[Any], Assembly]]: ...


def open_trio(
    build: Callable[..., Assembly], *, bind: str | None, advertise: str | None
) -> AbstractAsyncContextManager[tuple[Driver[Any], Assembly]]:
    """The ordinary driver: Trio, real sockets, the machine's clocks."""
    from coordination.trio_driver import open_trio_driver

    return open_trio_driver(build, bind=bind, advertise=advertise)


DRIVER: ContextVar[DriverFactory] = ContextVar("trio_mesh_driver", default=open_trio)
