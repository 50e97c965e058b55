"""A causal trace to be read: a part of it, as columns or as JSON lines, and what led to an event.

A line of JSON is one happening, its fields in this order:

    {"n": 516, "at": 910111794, "node": "n1", "kind": "recv", "what": "n3", "detail": "Acquire(…)", "bytes": 95, "cause": 515}

`at` is true time in ns, `cause` the `n` of what led to it, or null. Columns show the same:

        516     <515     0.910111794  n1   recv      n3            Acquire(…)"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from simulations.traces.causal import Happening, Recorded

__all__ = ["HEAD", "Choice", "around", "causes", "column", "dump", "load", "nodes_of"]

HEAD = f"{'n':>7} {'cause':>8} {'true time, s':>15}  {'node':4} {'event':9} {'with':13} what"
EVERYWHERE = "*"
"""The node of what befalls links."""
NUMBERS = ("n", "at", "bytes", "cause")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is wanted of a trace: all that is given must hold."""

    kinds: Collection[str] = ()
    nodes: Collection[str] = ()
    text: str = ""
    """Of what it is about, or of its details."""
    since: int = 0
    """True ns."""
    until: int | None = None

    def of(self, happenings: Sequence[Happening]) -> list[Happening]:
        """Raises
        ------
        ValueError: a kind or a node that is nowhere in this trace.
        """
        for what, wanted, place in (("kind", self.kinds, 3), ("node", self.nodes, 2)):
            there = sorted({str(happening[place]) for happening in happenings})
            for name in wanted:
                if name not in there:
                    raise ValueError(f"no {what} {name!r} in this trace; there are {', '.join(there)}")
        return [happening for happening in happenings if happening in self]

    def __contains__(self, happening: object) -> bool:
        return (
            isinstance(happening, Happening)
            and (not self.kinds or happening.kind in self.kinds)
            and (not self.nodes or happening.node in self.nodes)
            and (self.text in happening.detail or self.text in happening.what)
            and happening.at >= self.since
            and (self.until is None or happening.at <= self.until)
        )


def causes(happenings: Sequence[Happening], n: int) -> list[Happening]:
    """All that led to event `n`, the first of it first, and itself.

    Raises
    ------
    ValueError: there is no such event.
    """
    by_number = {happening.n: happening for happening in happenings}
    if n not in by_number:
        raise ValueError(f"no event {n} in this trace; there are {len(happenings)}")
    chain = []
    while (happening := by_number.get(n)) is not None:
        chain.append(happening)
        n = happening.cause
    return chain[::-1]


def nodes_of(recorded: Recorded) -> list[str]:
    """The nodes that a violation is about: those that it names, else the one at which it was noticed."""
    text = recorded.result.violation or ""
    known = {happening.node for happening in recorded.happenings} - {EVERYWHERE}
    named = [name for name in sorted(known) if re.search(rf"(?<![\w/.]){re.escape(name)}(?![\w/.])", text)]
    return named or [happening.node for happening in recorded.happenings[-1:]]


def around(recorded: Recorded, count: int = 30) -> list[Happening]:
    """The last of what befell the nodes that a violation is about, faults of all included."""
    nodes = {*nodes_of(recorded), EVERYWHERE}
    chosen = [each for each in recorded.happenings if each.node in nodes or each.kind == "fault"]
    return chosen[-count:]


# --- columns --------------------------------------------------------------------------------------------------------------


def column(happening: Happening) -> str:
    n, at, node, kind, what, detail, _, cause = happening
    came_of = f"<{cause}" if cause else ""
    return f"{n:7} {came_of:>8} {at / 1e9:15.9f}  {node:4} {kind:9} {what:13} {detail}".rstrip()


# --- JSON lines -----------------------------------------------------------------------------------------------------------


def dump(happening: Happening) -> str:
    return json.dumps({**happening._asdict(), "cause": happening.cause or None}, ensure_ascii=False)


def load(lines: Iterable[str]) -> Iterator[Happening]:
    """Raises
    ------
    ValueError: the first line that is no happening.
    """
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            happening = Happening(**{**value, "cause": value["cause"] or 0})
        except (ValueError, TypeError, KeyError) as problem:
            raise ValueError(f"line {number} is no event of a trace: {problem}") from None
        for name, held in happening._asdict().items():
            if type(held) is not (int if name in NUMBERS else str):
                raise ValueError(f"line {number} is no event of a trace: {name} is {held!r}")
        yield happening
