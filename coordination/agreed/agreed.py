"""The parts of the agreed state, put together for one node."""

from __future__ import annotations

import random
from typing import NamedTuple

from coordination.agreed.acceptor import Acceptor
from coordination.agreed.birth import Birth
from coordination.agreed.boots import BootRecord
from coordination.agreed.holder import Holder
from coordination.agreed.inspector import Inspector
from coordination.agreed.owner import Owner
from coordination.agreed.ports import Identity, View
from coordination.agreed.roster import DEFAULT_PARAMETERS, Parameters
from crdt.clock import HybridClock

__all__ = ["Agreed", "build_agreed"]


class Agreed(NamedTuple):
    """In the order in which events should reach them."""

    birth: Birth
    acceptor: Acceptor
    owner: Owner
    holder: Holder
    inspector: Inspector


def build_agreed(
    identity: Identity,
    view: View,
    clock: HybridClock,
    random: random.Random,
    *,
    expect: int = 1,
    voter: bool = True,
    fresh: bool = False,
    networked: bool = True,
    seeds: int = 0,
    parameters: Parameters = DEFAULT_PARAMETERS,
) -> Agreed:
    """`seeds` is how many distinct addresses could found: those of the seed list and the own one together."""
    boots = BootRecord(identity, view)
    birth = Birth(
        identity,
        view,
        random,
        expect=expect,
        voter=voter,
        fresh=fresh,
        networked=networked,
        seeds=seeds,
        parameters=parameters,
    )
    acceptor = Acceptor(identity, birth, clock, boots)
    owner = Owner(identity, view, birth, clock, random, boots, acceptor)
    holder = Holder(identity, view, birth, random, boots)
    return Agreed(birth, acceptor, owner, holder, Inspector(identity, view, birth, acceptor, owner))
