"""The parts of the agreed state, put together for one node."""

from __future__ import annotations

import random
from typing import NamedTuple

from coordination.agreed.atomics.caller import Caller
from coordination.agreed.holding.holder import Holder
from coordination.agreed.owning.owner import Owner
from coordination.agreed.recalling.reader import Reader
from coordination.agreed.recalling.recall import Recall
from coordination.agreed.recalling.recollector import Recollector
from coordination.agreed.rosters.birth import Birth
from coordination.agreed.rosters.electorate import Electorate
from coordination.agreed.rosters.mover import Mover
from coordination.agreed.rosters.reset import Reset
from coordination.agreed.rosters.succession import Succession
from coordination.agreed.rosters.yielding import Yielding
from coordination.agreed.telling.census import Census
from coordination.agreed.telling.inspector import Inspector
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.ports import Identity, View
from coordination.agreed.vocabulary.roster import DEFAULT_PARAMETERS, Parameters
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.known_boots import KnownBoots
from coordination.agreed.voting.standing import Standing
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import HybridClock
from mesh.memory import Memory

__all__ = ["Agreed", "build_agreed"]


class Agreed(NamedTuple):
    """In the order in which events should reach them."""

    birth: Birth
    succession: Succession
    electorate: Electorate
    recall: Recall
    acceptor: Acceptor
    recollector: Recollector
    reader: Reader
    owner: Owner
    holder: Holder
    caller: Caller
    mover: Mover
    inspector: Inspector
    census: Census
    reset: Reset
    yielding: Yielding


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
    memory: Memory | None = None,
) -> Agreed:
    """`seeds` is how many distinct addresses could found: those of the seed list and the own one together. Without a
    memory nothing is written down."""
    voter_memory = VoterMemory(memory) if memory is not None else None
    boots = BootRecord(identity, view)
    known = KnownBoots(boots, voter_memory)
    standing = Standing(identity)
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
        memory=voter_memory,
        standing=standing,
    )
    succession = Succession(identity, view, standing, birth, random, known, voter_memory)
    recall = Recall(identity, birth, voter_memory)
    acceptor = Acceptor(identity, birth, clock, boots, voter_memory, standing)
    owner = Owner(identity, view, birth, clock, random, boots, acceptor, standing)
    holder = Holder(identity, view, birth, boots)
    recollector = Recollector(identity, birth, known, acceptor, voter_memory, standing)
    reader = Reader(identity, birth, known, acceptor, voter_memory)
    caller = Caller(identity, view, birth)
    mover = Mover(identity, view, standing, succession, acceptor, caller)
    inspector = Inspector(identity, view, birth, acceptor, owner, voter_memory, standing)
    census = Census(identity, birth, acceptor)
    electorate = Electorate(identity, view, standing, succession, boots, voter=voter)
    reset = Reset(identity, standing, succession, boots)
    yielding = Yielding(identity, view, birth, succession, acceptor, standing, networked=networked)
    return Agreed(
        birth, succession, electorate, recall, acceptor, recollector, reader, owner, holder, caller, mover, inspector, census,
        reset, yielding,
    )  # fmt: skip
