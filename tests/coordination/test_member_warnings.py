"""What `mesh members` warns of: alarms of the node that it asks."""

from __future__ import annotations

from coordination.commands.members import warnings


def test_a_healthy_node_says_nothing() -> None:
    assert warnings({}) == []
    assert warnings({"mending.divergences": 0, "mending.cells_mended": 0, "mending.doubted_buckets": 3}) == []


def test_alarms_are_told() -> None:
    diverged, corrupted = warnings({"mending.divergences": 2, "mending.cells_mended": 5, "mending.corrupted_buckets": 1})
    assert "2 times" in diverged and "5 entries" in diverged
    assert "check its memory" in corrupted
