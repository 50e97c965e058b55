"""The keyring of the mesh, changed while everything runs."""

from mesh.rotation.rotation import KEYRING, KeyStanding, RingChanged, Rotation

__all__ = ["KEYRING", "KeyStanding", "RingChanged", "Rotation"]
