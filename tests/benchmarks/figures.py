"""How a figure is told."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

__all__ = ["percentile", "rate", "times", "title"]


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def rate(what: str, per_second: float, goal: float | None, limit: float, limit_name: str, unit: str = "/s") -> None:
    """Operations a second (or another unit), what the design asks, and the limit in the same run."""
    wanted = (
        "" if goal is None else f"goal {goal:,.0f} ({'reached' if per_second >= goal else f'{per_second / goal:.0%} of it'})"
    )
    beside = f"{per_second / limit:.3f} of {limit_name} ({limit:,.0f} {unit})"
    print(f"  {what:<46}{per_second:>12,.0f} {unit}   {wanted:<28}   {beside}", flush=True)


def times(
    what: str,
    seconds: Sequence[float],
    goal_median: float,
    goal_99: float | None,
    limit: float,
    limit_name: str,
    *,
    most: float | None = None,
) -> None:
    """Durations: median and 99th percentile in ms, the goals, and the limit's median in the same run. `most`: what none of them
    may exceed."""
    median, high, highest = statistics.median(seconds), percentile(seconds, 99), max(seconds)
    reached = median <= goal_median and (goal_99 is None or high <= goal_99) and (most is None or highest <= most)
    goal = f"{goal_median * 1000:g}" + (f" / {goal_99 * 1000:g}" if goal_99 is not None else "")
    worst = ""
    if most is not None:
        goal, worst = f"{most * 1000:g}", f", most {highest * 1000:.2f} ms"
    print(
        f"  {what:<46}median {median * 1000:.2f} ms, 99th {high * 1000:.2f} ms{worst}   goal {goal} ms "
        f"({'reached' if reached else 'missed'})   {median / limit:.1f} x {limit_name} ({limit * 1e6:.0f} us)",
        flush=True,
    )


def percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
