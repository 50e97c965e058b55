"""Lifeguard's experiment anew: who is called dead because somebody else is slow?

`python -m simulations.lifeguard` prints the table of docs/membership.md. A mesh in which some nodes are blocked, paused or
starved at random intervals is lived through by plain SWIM, by SWIM with each part of Lifeguard alone, by all of them, and by
this project's default, from the same seeds: the same nodes suffer the same at the same moments."""

from simulations.lifeguard.anomalies import Anomaly, Kind, draw
from simulations.lifeguard.experiment import Outcome, Setup, Tally, live
from simulations.lifeguard.variants import VARIANTS, Variant

__all__ = ["VARIANTS", "Anomaly", "Kind", "Outcome", "Setup", "Tally", "Variant", "draw", "live"]
