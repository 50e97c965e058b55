"""A network of real nodes, each in a network namespace of its own, all on one switch, which is a thread of this process.

Linux only, and only where namespaces may be made (`why_not` says why they may not). Nothing of it is seen from outside: the
switch's end of each cable is in a namespace of its own too, made by its thread. A frame is read from one cable and written to
another; on the way it can be lost, by chance, in one direction or between two sides."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from random import Random

__all__ = ["Switch", "switch", "why_not"]

NEW_NET = 0x40000000
"""CLONE_NEWNET."""
ALL_PROTOCOLS = 0x0003
FRAME_BYTES = 65_536
ETHTOOL = 0x8946
NO_CHECKSUMS = 0x17
NO_SEGMENTS = 0x1F
NO_GATHERED_SEGMENTS = 0x24
"""ETHTOOL_STXCSUM, STSO and SGSO: a frame that is copied must be whole, with its own checksum."""
SUBNET = "10.77.0"


@cache
def why_not() -> str:
    """Empty if nodes can have namespaces here; else what forbids it."""
    for tool in ("unshare", "nsenter", "ip", "sleep"):
        if shutil.which(tool) is None:
            return f"there is no command {tool!r} here"
    trial = ["unshare", "-n", "ip", "link", "add", "name", "cable0", "type", "veth", "peer", "name", "cable1"]
    tried = subprocess.run(trial, capture_output=True, text=True, check=False)
    return f"network namespaces are forbidden here: {tried.stderr.strip()}" if tried.returncode else ""


class Switch:
    """Parameters
    ----------
    count: cables, to 10.77.0.1 and on."""

    def __init__(self, count: int, seed: int = 1) -> None:
        self.loss = 0.0
        self.cut: frozenset[tuple[int, int]] = frozenset()
        """Pairs (from, to) between which nothing passes."""
        self.lost = self.passed = 0
        self._random = Random(seed)
        self._holders = [subprocess.Popen(["unshare", "-n", "sleep", "3600"], stdin=subprocess.DEVNULL) for _ in range(count)]
        self._cables: list[socket.socket] = []
        self._learnt: dict[bytes, int] = {}
        self._ended = False
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="switch", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(60)
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        self._ended = True
        self._thread.join(5)
        for cable in self._cables:
            cable.close()
        for holder in self._holders:
            holder.kill()
            holder.wait()

    def address(self, number: int, port: int = 7946) -> str:
        return f"{SUBNET}.{number + 1}:{port}"

    def inside(self, number: int) -> list[str]:
        """What makes a command run in that namespace."""
        return ["nsenter", "-t", str(self._holders[number].pid), "-n"]

    def sides(self, one: Iterable[int]) -> frozenset[tuple[int, int]]:
        """A cut between these and all others."""
        side, everyone = frozenset(one), range(len(self._holders))
        return frozenset((a, b) for a in everyone for b in everyone if (a in side) != (b in side))

    # --- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(NEW_NET):
                raise OSError(ctypes.get_errno(), "no network namespace for the switch")
            for number, holder in enumerate(self._holders):
                self._plug(number, holder)
        except BaseException as problem:
            self._failure = problem
            return
        finally:
            self._ready.set()
        while not self._ended:
            readable, _, _ = select.select(self._cables, [], [], 0.2)
            for cable in readable:
                self._forward(self._cables.index(cable), cable)

    def _plug(self, number: int, holder: subprocess.Popen[bytes]) -> None:
        """A cable to the holder's namespace. Commands started by this thread are in its namespace."""
        here, there = f"c{number}", ["nsenter", "-t", str(holder.pid), "-n"]
        own = os.readlink("/proc/thread-self/ns/net")
        while os.readlink(f"/proc/{holder.pid}/ns/net") in (own, os.readlink(f"/proc/{os.getpid()}/ns/net")):
            if holder.poll() is not None:
                raise OSError("a namespace ended before it was used")
        for command in (
            ["ip", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid)],
            ["ip", "link", "set", here, "up"],
            [*there, "ip", "link", "set", "lo", "up"],
            [*there, "ip", "address", "add", f"{SUBNET}.{number + 1}/24", "dev", "eth0"],
            [*there, sys.executable, "-c", WHOLE_FRAMES],
            [*there, "ip", "link", "set", "eth0", "up"],
        ):
            subprocess.run(command, check=True, capture_output=True)
        cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
        cable.bind((here, ALL_PROTOCOLS))
        cable.setblocking(False)
        self._cables.append(cable)

    def _forward(self, source: int, cable: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                frame, (_, _, kind, *_) = cable.recvfrom(FRAME_BYTES)
                if kind != socket.PACKET_OUTGOING:
                    self._pass(source, frame)

    def _pass(self, source: int, frame: bytes) -> None:
        self._learnt[frame[6:12]] = source
        known = self._learnt.get(frame[:6])
        for target in range(len(self._cables)) if known is None else (known,):
            if target == source:
                continue
            if (source, target) in self.cut or self._random.random() < self.loss:
                self.lost += 1
                continue
            with suppress(OSError):  # a full queue loses frames, as a switch does
                self._cables[target].send(frame)
                self.passed += 1


WHOLE_FRAMES = f"""
import array, fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for what in ({NO_SEGMENTS}, {NO_GATHERED_SEGMENTS}, {NO_CHECKSUMS}):
    value = array.array("B", struct.pack("II", what, 0))
    fcntl.ioctl(s, {ETHTOOL}, struct.pack("16sP", b"eth0", value.buffer_info()[0]))
"""


@contextmanager
def switch(count: int, seed: int = 1) -> Iterator[Switch]:
    made = Switch(count, seed)
    try:
        made.start()
        yield made
    finally:
        made.end()
