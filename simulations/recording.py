"""What an eavesdropper has, and what he can do with it: everything that was sent, replayed to whomever he likes (W6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mesh.channel import MAGIC
from mesh.directives import Address
from simulations.cluster import SimPeer
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.world import World

__all__ = ["Recorder", "replay", "snapshot"]

ATTACKER = "10.66.6.6:6666"


class Recorder(Observer):
    """Every datagram with its addresses, and the bytes of every end of every stream."""

    def __init__(self, world: World) -> None:
        self.datagrams: list[tuple[Address, Address, bytes]] = []
        """(from, to, bytes)."""
        self._streams: dict[tuple[Process, int], list[bytes]] = {}
        world.observe(self)

    def transmitted(self, process: Process, address: Address, data: bytes) -> None:
        self.datagrams.append((process.address, address, data))

    def wrote(self, process: Process, stream: int, data: bytes) -> None:
        self._streams.setdefault((process, stream), []).append(data)

    def streams(self) -> list[list[bytes]]:
        """What each end wrote, from its greeting on."""
        return [written for written in self._streams.values() if written[0].startswith(MAGIC)]


def replay(peer: SimPeer, datagrams: Sequence[tuple[Address, Address, bytes]], streams: Iterable[Sequence[bytes]]) -> None:
    """Give a process recorded datagrams, each from the address that it first came from, and recorded streams, each on a
    connection of its own."""
    process = peer.process
    for source, _, data in datagrams:
        process.on_datagram(data, source)
    for written in streams:
        stream = process.node.on_accept(ATTACKER, process.instant())
        for data in written:
            process.node.on_stream(stream, data, process.instant())
        process.node.on_stream_end(stream, "closed", process.instant())
        process.perform()


def snapshot(peer: SimPeer, keys: Sequence[str]) -> dict[str, Any]:
    """What a replay must not change: stores, members, and what it promised and accepted for some registers."""
    assembly = peer.assembly
    registers = {}
    for key in keys:
        register = assembly.agreed.acceptor.register(key)
        if register is not None:
            registers[key] = (
                register.promised,
                register.accepted,
                register.value,
                register.highest,
                dict(register.leases),
                tuple(register.ended),
            )
    return {
        "cells": tuple(peer.store.cells()),
        "claims": peer.store.dots.summary(),
        "members": assembly.membership.members(),
        "boot": assembly.identity.boot,
        "roster": assembly.agreed.birth.roster,
        "registers": registers,
        "believes": assembly.agreed.holder.stats()["held"],
    }
