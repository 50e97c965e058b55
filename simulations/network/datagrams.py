"""Datagrams between machines: delayed, lost, duplicated, held back, cut, corrupted, refused, or dropped by a queue or a socket
that is full."""

from __future__ import annotations

from mesh.directives import Address
from simulations.dice import mix
from simulations.machine.machine import Machine
from simulations.machine.process import Process
from simulations.network.corruption import spoilt
from simulations.network.network import Link, Network
from simulations.schedule import Schedule
from simulations.trace import Trace

__all__ = ["DATAGRAM_COST", "Datagrams"]

DATAGRAM_COST = 768
"""Bytes that the kernel counts for a datagram beside its own."""
HEADERS = 28
"""Bytes of IP and UDP, which a limited link carries too."""


class Datagrams:
    """Parameters
    ----------
    places: the machine at each address; shared with the world."""

    def __init__(self, schedule: Schedule, network: Network, trace: Trace, places: dict[Address, Machine]) -> None:
        self.sent = 0
        self._schedule = schedule
        self._network = network
        self._trace = trace
        self._places = places
        self._routes: dict[tuple[str, Address], tuple[Link, Machine]] = {}

    def forget_routes(self) -> None:
        """A machine has another address."""
        self._routes.clear()

    def send(self, process: Process, address: Address, data: bytes) -> None:
        schedule = self._schedule
        self.sent += 1
        route = self._routes.get((process.machine, address))
        if route is None:
            machine = self._places.get(address)
            if machine is None:
                self._trace.add(schedule.now, process.machine, "lost", address)
                return
            route = self._network.link(process.machine, machine.name), machine
            self._routes[process.machine, address] = route
        link, machine = route
        if link.version != self._network.version:
            self._network.refresh(link)
        draw = link.draw()
        if link.cut:
            self._trace.add(schedule.now, process.machine, "cut", machine.name, data)
            return
        if draw & 0xFFFF < link.loss:
            self._trace.add(schedule.now, process.machine, "lost", machine.name, data)
            return
        if link.hampered:
            self._hampered(process, link, machine, data, draw)
            return
        self._trace.add(schedule.now, process.machine, "send", machine.name, data)
        schedule.after(link.delay(draw), self._arrive, process, link, machine, data)
        if draw >> 16 & 0xFFFF < link.duplicate:
            schedule.after(link.delay(mix(~draw)), self._arrive, process, link, machine, data)

    def _hampered(self, process: Process, link: Link, machine: Machine, data: bytes, draw: int) -> None:
        """Over a link that is limited or noisy. A second copy is made behind the queue, of what was sent."""
        schedule = self._schedule
        waits = link.enter(len(data) + HEADERS, schedule.now) if link.limit is not None else 0
        if waits is None:
            process.counts["link_full"] += 1
            self._trace.add(schedule.now, process.machine, "full", machine.name, data)
            return
        self._trace.add(schedule.now, process.machine, "send", machine.name, data)
        arriving = data
        change = link.corrupts(draw)
        if change:
            arriving = spoilt(bytes(data), change)
            process.counts["corrupted"] += 1
            self._trace.add(schedule.now, process.machine, "corrupt", machine.name, arriving)
        schedule.after(waits + link.delay(draw), self._arrive, process, link, machine, arriving)
        if draw >> 16 & 0xFFFF < link.duplicate:
            schedule.after(waits + link.delay(mix(~draw)), self._arrive, process, link, machine, data)

    def _arrive(self, sender: Process, link: Link, machine: Machine, data: bytes) -> None:
        if link.version != self._network.version:
            self._network.refresh(link)
        if link.cut or not machine.up:
            self._trace.add(self._schedule.now, machine.name, "cut", link.source, data)
            return
        process = machine.process
        if process is None or not process.bound:
            back = self._network.link(link.target, link.source)
            if not back.cut:
                self._trace.add(self._schedule.now, machine.name, "refused", link.source)
                self._schedule.after(back.delay(back.draw()), sender.on_refused, machine.address)
            return
        if process.deaf:
            return
        if process.holds or process.datagrams.items:
            self.deliver(process, data, sender.address)
            return
        self._trace.add(self._schedule.now, process.machine, "recv", sender.address, data)
        process.on_datagram(data, sender.address)

    def deliver(self, process: Process, data: bytes, address: Address) -> None:
        """Into the socket of a process that lives."""
        if process.holds or process.datagrams.items:
            if not process.hold(process.datagrams, len(data) + DATAGRAM_COST, self._read, process, data, address):
                process.counts["udp_full"] += 1
                self._trace.add(self._schedule.now, process.machine, "full", address, data)
            return
        self._trace.add(self._schedule.now, process.machine, "recv", address, data)
        process.on_datagram(data, address)

    def _read(self, process: Process, data: bytes, address: Address) -> None:
        if not process.deaf:
            self._trace.add(self._schedule.now, process.machine, "recv", address, data)
            process.on_datagram(data, address)
