"""The keyring of the mesh, changed while everything runs."""

from mesh.rotation.rotation import KeyStanding, RingChanged, Rotation
from mesh.rotation.shelf import KEYRING

__all__ = ["KEYRING", "KeyStanding", "RingChanged", "Rotation"]
