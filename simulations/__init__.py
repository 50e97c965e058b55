"""The deterministic world: machines, a network, faults and checkers, over the same cores that run in production.

Every name is loaded when it is first used, so that the command `mesh` finds its subcommand here at next to no cost."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulations.cluster import Cluster as Cluster
    from simulations.cluster import SimPeer as SimPeer
    from simulations.network.network import Conditions as Conditions
    from simulations.observer import Observer as Observer
    from simulations.running import Result as Result
    from simulations.running import Scenario as Scenario
    from simulations.sweeps.cases import Case as Case
    from simulations.sweeps.cases import replay as replay
    from simulations.sweeps.shrinking import shrink as shrink
    from simulations.sweeps.sweeping import sweep as sweep
    from simulations.world import MS as MS
    from simulations.world import SECOND as SECOND
    from simulations.world import World as World

_HOMES = {
    "simulations.sweeps.cases": ("Case", "replay"),
    "simulations.cluster": ("Cluster", "SimPeer"),
    "simulations.network.network": ("Conditions",),
    "simulations.observer": ("Observer",),
    "simulations.running": ("Result", "Scenario"),
    "simulations.sweeps.shrinking": ("shrink",),
    "simulations.sweeps.sweeping": ("sweep",),
    "simulations.world": ("MS", "SECOND", "World"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "MS",
    "SECOND",
    "Case",
    "Cluster",
    "Conditions",
    "Observer",
    "Result",
    "Scenario",
    "SimPeer",
    "World",
    "replay",
    "shrink",
    "sweep",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
