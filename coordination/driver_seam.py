"""Which driver `open_peer` and `connect` use: a context variable, so that a simulation can put the same call into its world."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from coordination.trio_driver import Build, Built, open_trio_driver
from mesh.driver import Driver, NodeLike

__all__ = ["DRIVER", "Build", "Built", "DriverFactory"]

B = TypeVar("B", bound=Built)


class DriverFactory(Protocol):
    """Opens a driver for the node that `build` makes once the address is known; yields the driver and what was built.

    `bind` is what to listen on, `advertise` what others are told if it is not what is bound. Without `bind` it is any port on
    the address from which `towards` is reached; if that is empty too, there is no port and the build is given no address. One
    exception leaves it, alone and not in a group: the reason, if the node halted."""

    def __call__(
        self, build: Build[B], *, bind: str | None, advertise: str | None, towards: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[tuple[Driver[NodeLike], B]]: ...


DRIVER: ContextVar[DriverFactory] = ContextVar("trio_mesh_driver", default=open_trio_driver)
