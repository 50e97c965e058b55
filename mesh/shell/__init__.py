"""The Trio shell: drives a node on real sockets and the machine's clocks. The only part of `mesh` that waits."""

from mesh.shell.clocks import read_instant
from mesh.shell.disk import Store
from mesh.shell.driver import NO_ADDRESS, TrioDriver, open_driver

__all__ = ["NO_ADDRESS", "Store", "TrioDriver", "open_driver", "read_instant"]
