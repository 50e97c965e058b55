"""Plans as JSON, and what a plan must be to be possible.

A plan is a list of objects, one a fault: `kind` is the name of a class of `simulations.faults`, the other members are its
fields. Times (`at`, `lasts`, `latency`, `held`, `step`, `stall`) are whole ns, so that what is saved is what runs, to the last
one. A shape of latency that is no pair is an object with a `kind` too. A field that has its default is left out. The text is
canonical: equal plans have equal texts.

    [
      {"kind": "Partition", "at": 1000000000, "lasts": 3000000000, "side": ["n0", "n3"]},
      {"kind": "Crash", "at": 2000000000, "lasts": 0, "whom": "n1", "wipe": true}
    ]

No two faults exclude each other: they overlap freely, and a fault whose victim is in no state for it does nothing. What is
refused, with its place, is a fault that cannot be: unknown nodes, a time before the plan, an empty side, a node cut off from
itself, a chance above 1, a link that carries nothing, a clock that stands still or runs back."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

from simulations.faults import Cut, Fault, Partition, Rate, Ring, Throttle
from simulations.network.latency import Latency, LogNormal, Pareto, Shape
from simulations.network.network import Conditions

__all__ = ["KIND_NAMES", "PlanError", "check_plan", "dump_plan", "load_plan", "plan_from", "plan_to"]

KIND_NAMES: dict[str, type[Fault]] = {kind.__name__: kind for kind in get_args(Fault)}
SHAPES: dict[str, type[Shape]] = {shape.__name__: shape for shape in get_args(Shape)}
SIGNED = ("ppm", "ms")
STANDSTILL = -1_000_000
"""ppm: a clock that loses so much stands still."""
LARGEST_SIGMA = 5_000
SMALLEST_ALPHA = 100


class PlanError(ValueError):
    """A plan that cannot be; says which place of it, and why."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}")


# --- writing --------------------------------------------------------------------------------------------------------------


def plan_to(plan: Sequence[Fault]) -> list[dict[str, Any]]:
    """The plan as what `json` writes."""
    return [{"kind": type(fault).__name__, **_object(fault)} for fault in plan]


def dump_plan(plan: Sequence[Fault], indent: str = "") -> str:
    """The canonical text, one fault a line; `indent` stands before each line but the first."""
    if not plan:
        return "[]"
    lines = ",\n".join([f"{indent}  {json.dumps(row)}" for row in plan_to(plan)])
    return f"[\n{lines}\n{indent}]"


def _object(value: Any) -> dict[str, Any]:
    return {
        field.name: _written(getattr(value, field.name))
        for field in fields(value)
        if getattr(value, field.name) != field.default
    }


def _written(held: Any) -> Any:
    match held:
        case tuple():
            return list(held)
        case Conditions():
            return _object(held)
        case LogNormal() | Pareto():
            return {"kind": type(held).__name__, **_object(held)}
        case _:
            return held


# --- reading --------------------------------------------------------------------------------------------------------------


def load_plan(text: str, names: Collection[str] | None = None) -> list[Fault]:
    """The plan of a text; with `names`, about these nodes only.

    Raises
    ------
    PlanError
    """
    try:
        value = json.loads(text)
    except ValueError as problem:
        raise PlanError("plan", f"no JSON: {problem}") from None
    return plan_from(value, names)


def plan_from(value: object, names: Collection[str] | None = None, place: str = "plan") -> list[Fault]:
    """The plan of what `json` read. `place` is what errors call it.

    Raises
    ------
    PlanError
    """
    if not isinstance(value, list):
        raise PlanError(place, f"a list of faults is wanted, not {_shown(value)}")
    return [_fault(each, names, f"{place}[{number}]") for number, each in enumerate(value)]


def check_plan(plan: Sequence[Fault], names: Collection[str]) -> None:
    """Raises
    ------
    PlanError: it cannot happen to these nodes.
    """
    plan_from(plan_to(plan), names)


def _fault(value: object, names: Collection[str] | None, place: str) -> Fault:
    if not isinstance(value, dict):
        raise PlanError(place, f"a fault is an object, not {_shown(value)}")
    fault: Fault = _of_kind(KIND_NAMES, value, names, place)
    match fault:
        case Cut(one=one, other=other) if one == other:
            raise PlanError(f"{place}.other", f"{one!r} cannot be cut off from itself")
        case Partition(side=side) if names is not None and set(side) == set(names):
            raise PlanError(f"{place}.side", "names every node: nobody is on the other side")
        case Rate(ppm=ppm) if ppm <= STANDSTILL:
            raise PlanError(f"{place}.ppm", f"{ppm} would stop the clock or turn it back; it must be above {STANDSTILL}")
        case Ring(order=order) if len(set(order)) < len(order):
            twice = next(number for number, name in enumerate(order) if name in order[:number])
            raise PlanError(f"{place}.order[{twice}]", f"{order[twice]!r} stands in the ring already")
        case Throttle(bytes_per_s=0):
            raise PlanError(f"{place}.bytes_per_s", "0 lets nothing pass; to cut links there is OneWay")
    return fault


def _of_kind(kinds: dict[str, type[Any]], value: Mapping[str, object], names: Collection[str] | None, place: str) -> Any:
    """One object whose class is named by its `kind`."""
    name = value.get("kind")
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        what = "missing" if "kind" not in value else f"unknown kind {_shown(name)}"
        raise PlanError(f"{place}.kind", f"{what}; the kinds are {', '.join(kinds)}")
    return _build(kind, {key: each for key, each in value.items() if key != "kind"}, names, place)


def _build(kind: type[Any], value: dict[str, object], names: Collection[str] | None, place: str) -> Any:
    """One object of a dataclass, of its fields."""
    known = _fields(kind)
    for key in value:
        if key not in known:
            raise PlanError(f"{place}.{key}", f"{kind.__name__} has no such field; it has {', '.join(known)}")
    built = {}
    for key, (hint, required) in known.items():
        if key in value:
            built[key] = _value(hint, key, value[key], names, f"{place}.{key}")
        elif required:
            raise PlanError(f"{place}.{key}", f"missing; {kind.__name__} needs it")
    return kind(**built)


_known_fields: dict[type[Any], dict[str, tuple[Any, bool]]] = {}


def _fields(kind: type[Any]) -> dict[str, tuple[Any, bool]]:
    """Type and need of each field."""
    known = _known_fields.get(kind)
    if known is None:
        hints = get_type_hints(kind)
        known = {field.name: (hints[field.name], field.default is MISSING) for field in fields(kind)}
        _known_fields[kind] = known
    return known


def _value(hint: Any, key: str, value: object, names: Collection[str] | None, place: str) -> Any:
    if type(None) in get_args(hint):
        if value is None:
            return None
        (hint,) = (each for each in get_args(hint) if each is not type(None))
    return _READERS[hint](key, value, names, place)


def _bool(key: str, value: object, names: Collection[str] | None, place: str) -> bool:
    if not isinstance(value, bool):
        raise PlanError(place, f"true or false is wanted, not {_shown(value)}")
    return value


def _int(key: str, value: object, names: Collection[str] | None, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise PlanError(place, f"a whole number is wanted, not {_shown(value)}")
    if value < 0 and key not in SIGNED:
        raise PlanError(place, f"must not be negative, and is {value}")
    return value


def _chance(key: str, value: object, names: Collection[str] | None, place: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise PlanError(place, f"a number from 0 to 1 is wanted, not {_shown(value)}")
    return float(value)


def _name(key: str, value: object, names: Collection[str] | None, place: str) -> str:
    if not isinstance(value, str):
        raise PlanError(place, f"the name of a node is wanted, not {_shown(value)}")
    if names is not None and value not in names:
        raise PlanError(place, f"unknown node {_shown(value)}; there are {', '.join(names)}")
    return value


def _names(key: str, value: object, names: Collection[str] | None, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise PlanError(place, f"a list of one node or more is wanted, not {_shown(value)}")
    return tuple([_name(key, each, names, f"{place}[{number}]") for number, each in enumerate(value)])


def _latency(key: str, value: object, names: Collection[str] | None, place: str) -> Latency:
    match value:
        case {}:
            shape: Shape = _of_kind(SHAPES, value, names, place)
            match shape:
                case LogNormal(sigma=sigma) if sigma > LARGEST_SIGMA:
                    raise PlanError(f"{place}.sigma", f"must not be above {LARGEST_SIGMA}, and is {sigma}")
                case Pareto(alpha=alpha) if alpha < SMALLEST_ALPHA:
                    raise PlanError(f"{place}.alpha", f"must not be below {SMALLEST_ALPHA}, and is {alpha}")
            return shape
        case [lowest, highest]:
            low, high = _int(key, lowest, names, f"{place}[0]"), _int(key, highest, names, f"{place}[1]")
            if low > high:
                raise PlanError(place, f"the lowest, {low}, is above the highest, {high}")
            return low, high
        case _:
            raise PlanError(place, f"lowest and highest ns, or a shape, are wanted, not {_shown(value)}")


def _conditions(key: str, value: object, names: Collection[str] | None, place: str) -> Any:
    if not isinstance(value, dict):
        raise PlanError(place, f"an object is wanted, not {_shown(value)}")
    return _build(Conditions, value, names, place)


_READERS: dict[Any, Callable[[str, object, Collection[str] | None, str], Any]] = {
    bool: _bool,
    int: _int,
    float: _chance,
    str: _name,
    tuple[str, ...]: _names,
    Latency: _latency,
    Conditions: _conditions,
}


def _shown(value: object) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 40 else f"{text[:37]}..."
