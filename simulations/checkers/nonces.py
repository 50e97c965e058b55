"""No (key, nonce) pair is ever used twice (W6), over everything that was sent.

Datagrams: a key belongs to a secret, the sender's session and its receiver; so it is enough, and stricter, that no secret,
session and nonce come twice. Streams: the nonce is an implicit counter, the key is made of both ends' random salts; so it is
enough that no end says the same salt twice."""

from __future__ import annotations

from mesh.channel import GREETING_BYTES, MAGIC
from mesh.directives import Address
from mesh.seal import HEADER_BYTES
from simulations.checkers.base import Checker
from simulations.machine.process import Process
from simulations.world import World

__all__ = ["Nonces"]


class Nonces(Checker):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.datagrams: set[bytes] = set()
        self.greetings: set[bytes] = set()

    def transmitted(self, process: Process, address: Address, data: bytes) -> None:
        used = data[2:HEADER_BYTES]
        if used in self.datagrams:
            self.fail("W6", f"{process} sealed two datagrams with one nonce")
        self.datagrams.add(used)

    def wrote(self, process: Process, stream: int, data: bytes) -> None:
        if not data.startswith(MAGIC):
            return
        greeting = data[:GREETING_BYTES]
        if greeting in self.greetings:
            self.fail("W6", f"{process} began two streams with one salt")
        self.greetings.add(greeting)
