"""The second run of a seed, in another process with another PYTHONHASHSEED, and where the two part if they are not the same.

What depends on the order of a set or on an address in memory shows there, and would not in one process. Before its first run
the other process makes one more, which nobody asks for: what a run leaves behind for the next one shows then, too.

    python -m simulations.sweeps.second_run      is the other process: pickles of requests come in, of answers go out

One such process serves all runs of a process, and ends with it."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any, NamedTuple, NoReturn

from simulations.running import Result, Scenario
from simulations.trace import Line
from simulations.world import World

__all__ = ["Request", "SecondRun", "SecondRunError", "close", "compare", "serve"]

BATCH = 256
"""Lines of a trace that are passed on at a time."""
COMMAND = ("-m", "simulations.sweeps.second_run")


class SecondRunError(RuntimeError):
    """The other process could not be started, or has died."""


class Request(NamedTuple):
    scenario: Scenario
    seed: int
    nodes: int | None
    profile: str | None


class _Line(NamedTuple):
    """Of the other process's trace."""

    digested: bytes
    shown: str


class SecondRun:
    """The other process.

    Parameters
    ----------
    python: the interpreter; by default that of this process.

    Raises
    ------
    SecondRunError
    """

    def __init__(self, python: str | None = None) -> None:
        own = os.environ.get("PYTHONHASHSEED", "random")
        self.hash_seed = "1" if own != "1" else "2"
        path = os.pathsep.join([entry or str(Path.cwd()) for entry in sys.path])
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            self._process = subprocess.Popen(
                [python or sys.executable, *COMMAND],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, "PYTHONHASHSEED": self.hash_seed, "PYTHONPATH": path},
            )
        except OSError as problem:
            self._errors.close()
            raise SecondRunError(f"the process for the second run cannot be started: {problem}") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        if self._answer() != self.hash_seed:
            raise SecondRunError("the process for the second run does not have the hash seed that it was given")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Request, *, traced: bool = False) -> None:
        try:
            data = pickle.dumps((request, traced))
        except (pickle.PicklingError, AttributeError, TypeError) as problem:
            raise SecondRunError(f"{request.scenario.name} cannot be handed to another process: {problem}") from None
        try:
            self._requests.write(data)
            self._requests.flush()
        except OSError:
            self._died()

    def outcome(self) -> tuple[str, str | None]:
        """Digest and violation of the run that was asked for."""
        answer: tuple[str, str | None] = self._answer()
        return answer

    def lines(self) -> Iterator[_Line]:
        """The trace of the run that was asked for."""
        while (batch := self._answer()) is not None:
            yield from batch

    def _answer(self) -> Any:
        try:
            answer = pickle.load(self._answers)
        except (EOFError, OSError, pickle.UnpicklingError):
            self._died()
        if isinstance(answer, SecondRunError):
            raise answer
        return answer

    def _died(self) -> NoReturn:
        self._process.kill()
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        raise SecondRunError(f"the process for the second run has ended with {code}: {said[-1] if said else 'it said nothing'}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for file in (self._requests, self._answers, self._errors):
            with suppress(OSError):  # there may be something that was still to be written
                file.close()


_lock = Lock()
_other: SecondRun | None = None


def _running() -> SecondRun:
    global _other  # noqa: PLW0603
    if _other is None or not _other.alive:
        close()
        _other = SecondRun()
    return _other


@atexit.register
def close() -> None:
    """End the other process of this one, if there is any."""
    global _other  # noqa: PLW0603
    if _other is not None:
        _other.close()
        _other = None


def compare(request: Request) -> tuple[Result, str | None]:
    """Run it here and in the other process: what came of it here, and where the two parted, if they did.

    Raises
    ------
    SecondRunError; and as `Scenario.run`
    """
    with _lock:
        other = _running()
        try:
            return _compare(request, other)
        except BaseException:
            close()  # it may have an answer to this that nobody has read
            raise


def _compare(request: Request, other: SecondRun) -> tuple[Result, str | None]:
    other.ask(request)
    result = _run(request)
    digest, violation = other.outcome()
    if (digest, violation) == (result.digest, result.violation):
        return result, None
    if digest == result.digest:
        told = f"\n  one:   {result.violation}\n  other: {violation}"
        return result, f"the traces are the same, and what was broken is not{told}"
    where = _where(request, other)
    return result, f"digests {result.digest} and {digest} (PYTHONHASHSEED={other.hash_seed}) part at {where}"


def _where(request: Request, other: SecondRun) -> str:
    """The first line at which the traces part, of one more run here and there."""
    other.ask(request, traced=True)
    lines = other.lines()
    number = 0
    parted = ""

    def look(line: Line) -> None:
        nonlocal number, parted
        if parted:
            return
        number += 1
        there = next(lines, None)
        if there is None or there.digested != line.digested():
            parted = f"line {number}\n  one:   {line}\n  other: {'has ended' if there is None else there.shown}"

    _run(request, lambda world: world.trace.follow(look))
    more = None if parted else next(lines, None)
    if parted or more is not None:
        close()  # it has more to say, which nobody wants to hear
    if parted:
        return parted
    if more is None:
        return "no line when both run once more: the difference is something that an earlier run left behind"
    return f"line {number + 1}\n  one:   has ended\n  other: {more.shown}"


# --- in the other process -------------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the sweep, with which this process ends
    with os.fdopen(os.dup(0), "rb") as requests, os.fdopen(os.dup(1), "wb") as answers, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)  # what a scenario prints is no answer

        def say(answer: object) -> None:
            pickle.dump(answer, answers)
            answers.flush()

        say(os.environ.get("PYTHONHASHSEED"))
        warm = False
        while True:
            try:
                request, traced = pickle.load(requests)
            except EOFError:
                return
            except (ImportError, AttributeError) as problem:
                say(SecondRunError(f"the scenario is not to be found in another process: {problem}"))
                continue
            if not warm:
                _run(request)
                warm = True
            if traced:
                _tell(request, say)
            else:
                result = _run(request)
                say((result.digest, result.violation))


def _run(request: Request, seen: Callable[[World], object] | None = None) -> Result:
    return request.scenario.run(request.seed, nodes=request.nodes, profile=request.profile, seen=seen)


def _tell(request: Request, say: Callable[[object], None]) -> None:
    """The whole trace, as it comes."""
    batch: list[_Line] = []

    def collect(line: Line) -> None:
        batch.append(_Line(line.digested(), str(line)))
        if len(batch) >= BATCH:
            say(batch)
            batch.clear()

    _run(request, lambda world: world.trace.follow(collect))
    say(batch)
    say(None)


if __name__ == "__main__":
    from simulations.sweeps.second_run import serve as answer  # under its own name: what it sends is of that module

    answer()
