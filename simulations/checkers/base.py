"""What all checkers are: observers that raise `Violation` at the moment at which a property is broken."""

from __future__ import annotations

from typing import NoReturn

from simulations.observer import Observer
from simulations.world import World

__all__ = ["Checker", "Violation"]


class Violation(AssertionError):
    """A property of docs/invariants.md does not hold."""


class Checker(Observer):
    def __init__(self, world: World) -> None:
        self.world = world
        world.observe(self)

    def fail(self, law: str, text: str) -> NoReturn:
        raise Violation(f"{law}: {text} (seed {self.world.seed}, at {self.world.now / 1e9:.6f} s)")
