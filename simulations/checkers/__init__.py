"""Checkers: properties of docs/invariants.md, asserted while a world runs and at its end."""

from simulations.checkers.base import Checker, Violation
from simulations.checkers.exclusion import Exclusion
from simulations.checkers.members import Members
from simulations.checkers.nonces import Nonces
from simulations.checkers.stores import Sums, WatchFold, agree, cells, differences

__all__ = ["Checker", "Exclusion", "Members", "Nonces", "Sums", "Violation", "WatchFold", "agree", "cells", "differences"]
