"""A gateway in several instances whose customers have one limit over all of them.

Each instance serves lines over TCP (try `nc 127.0.0.1 8000`, and type a customer's name) and answers `ok` or `slow down`. The
limit is strict: together the instances never admit more, also if they do not see each other, as each of them decides within a
share that a majority has granted it. What was served is a counter that all of them add to."""

from __future__ import annotations

import argparse

import trio

from coordination import MeshError, Peer
from examples.opening import joined, options, run, tell

__all__ = ["Gateway"]


class Gateway:
    """Parameters
    ----------
    rate: requests a second of one customer, over all instances. burst: at once.
    """

    def __init__(self, peer: Peer, *, rate: float, burst: int) -> None:
        self._peer = peer
        self._rate = rate
        self._burst = burst

    async def serve(self, customer: str) -> str:
        """The answer to one request."""
        limiter = self._peer.limiter(f"customer/{customer}", rate=self._rate, burst=self._burst, ttl=3)
        try:
            admitted = await limiter.try_acquire()
        except MeshError as problem:  # there is no majority: whether it may be nobody can say
            return f"try later: {problem}"
        if not admitted:
            return "slow down"
        self._peer.counter(f"served/{customer}").add()
        return "ok"

    async def connection(self, stream: trio.SocketStream) -> None:
        """One customer after the other, a line each."""
        rest = b""
        async for data in stream:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                customer = line.decode(errors="replace").strip()
                answer = await self.serve(customer) if customer else "who are you?"
                await stream.send_all(answer.encode() + b"\n")


async def main(arguments: argparse.Namespace) -> None:
    async with joined(arguments) as peer, trio.open_nursery() as nursery:
        gateway = Gateway(peer, rate=arguments.rate, burst=arguments.burst)
        listeners = await trio.open_tcp_listeners(arguments.port, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, gateway.connection, listeners)
        tell(event="serving", port=listeners[0].socket.getsockname()[1])
        await trio.sleep_forever()


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=5.0)
    parser.add_argument("--burst", type=int, default=5)
    run(main, parser.parse_args())
