"""Values that nobody changes: slotted dataclasses, compared and hashed by what they hold.

What makes a dataclass frozen at run time is paid for each time that one is made: `__init__` must go round the `__setattr__`
that refuses, field by field, and takes three times as long. Messages, directives and members are made by the ten thousand a
second, and the type checker refuses an assignment to them as well, in every file. So that is who refuses here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

__all__ = ["frozen"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(cls: type[T]) -> type[T]:
    """Declare such a class."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
