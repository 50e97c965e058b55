"""The deterministic world: machines, a network, faults and checkers, over the same cores that run in production."""

from simulations.cluster import Cluster, SimPeer
from simulations.network import Conditions
from simulations.observer import Observer
from simulations.world import MS, SECOND, World

__all__ = ["MS", "SECOND", "Cluster", "Conditions", "Observer", "SimPeer", "World"]
