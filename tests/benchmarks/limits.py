"""What the machine itself can do: the limits that the figures are held against."""

from __future__ import annotations

import os
import socket
import sqlite3
import statistics
import time
from heapq import heappop, heappush
from pathlib import Path

__all__ = ["bare_commits", "dictionary_gets", "encodings", "heap_events", "round_trip", "sealed_round_trips"]


def dictionary_gets(count: int) -> float:
    """Look-ups a second in a plain dictionary, each through a method call."""
    known = {f"key/{n}": n for n in range(1000)}
    keys = list(known)

    class Plain:
        def get(self, key: str) -> int | None:
            return known.get(key)

    get = Plain().get
    total = 0
    began = time.perf_counter()
    for n in range(count):
        total += get(keys[n % 1000])  # type: ignore[operator]
    took = time.perf_counter() - began
    assert total == sum(n % 1000 for n in range(count))
    return count / took


def bare_commits(path: Path, seconds: float) -> float:
    """Durable transactions a second of SQLite alone: one small row, write-ahead log, full synchronous mode."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("create table t (k integer primary key, v blob)")
    count = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        count += 1
        connection.execute("insert or replace into t values (?, ?)", (count % 50, os.urandom(150)))
    took = time.perf_counter() - began
    assert connection.execute("select count(*) from t").fetchone()[0] == min(count, 50)
    connection.close()
    return count / took


def encodings(count: int) -> float:
    """Small CBOR values a second, encoded."""
    import cbor2

    size = 0
    began = time.perf_counter()
    for n in range(count):
        size += len(cbor2.dumps(["key", n, b"0123456789abcdef", n]))
    took = time.perf_counter() - began
    assert size > count
    return count / took


def heap_events(count: int) -> float:
    """Events a second of a bare heap whose handlers do nothing."""
    heap: list[tuple[int, int]] = [(n, n) for n in range(1000)]
    done = 0
    began = time.perf_counter()
    for n in range(1000, count):
        at, _ = heappop(heap)
        done += at >= 0
        heappush(heap, (n, n))
    took = time.perf_counter() - began
    assert done == count - 1000
    return count / took


def round_trip(count: int = 2000) -> float:
    """Median seconds of a bare UDP round trip between two processes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        near.bind(("127.0.0.1", 0))
        far.bind(("127.0.0.1", 0))
        near.settimeout(5)
        address, back = far.getsockname(), near.getsockname()
        child = os.fork()
        if child == 0:
            try:
                for _ in range(count):
                    far.sendto(far.recv(2048), back)
            finally:
                os._exit(0)
        took = []
        for n in range(count):
            message = n.to_bytes(8, "big") * 12
            began = time.perf_counter()
            near.sendto(message, address)
            answer = near.recv(2048)
            took.append(time.perf_counter() - began)
            assert answer == message
        os.waitpid(child, 0)
    return statistics.median(took)


def sealed_round_trips(count: int = 2000) -> float:
    """Round trips a second between two Trio processes, each message in CBOR and AES-GCM: what a lock could cost at least."""
    import cbor2
    import trio
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = AESGCM(bytes(32))
    nonce = bytes(12)

    async def answer(sock: trio.socket.SocketType) -> None:
        for _ in range(count):
            data, address = await sock.recvfrom(2048)
            message = cbor2.loads(key.decrypt(nonce, data, None))
            await sock.sendto(key.encrypt(nonce, cbor2.dumps(message), None), address)

    async def ask(sock: trio.socket.SocketType, address: tuple[str, int]) -> None:
        for n in range(count):
            await sock.sendto(key.encrypt(nonce, cbor2.dumps(["lock", n, bytes(16), n]), None), address)
            data = await sock.recv(2048)
            assert cbor2.loads(key.decrypt(nonce, data, None))[1] == n

    async def near(address: tuple[str, int]) -> float:
        sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        await sock.bind(("127.0.0.1", 0))
        began = time.perf_counter()
        with trio.fail_after(30):
            await ask(sock, address)
        return count / (time.perf_counter() - began)

    far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind(("127.0.0.1", 0))
    place = far.getsockname()
    child = os.fork()
    if child == 0:
        try:

            async def serve() -> None:
                await answer(trio.socket.from_stdlib_socket(far))

            trio.run(serve)
        finally:
            os._exit(0)
    far.close()
    result = trio.run(near, place)
    os.waitpid(child, 0)
    return result
