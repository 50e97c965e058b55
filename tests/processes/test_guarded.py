"""Real processes that stand still, are killed, and come back: what a fence guards is never lost (L1, L2, L5, L7)."""

from __future__ import annotations

import pytest

from tests.processes.guarded import campaign

TTL = 1.0


async def test_a_guarded_file_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tally = await campaign(8, ttl=TTL, seed=4, least=1, longest=90)
    with capsys.disabled():
        print(f"\n{tally}")
    assert tally.writes > 8
    assert tally.refused >= 1 and tally.lost_by_bare >= 1


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1])
async def test_a_guarded_file_for_five_minutes(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    tally = await campaign(300, ttl=TTL, seed=seed, least=10, longest=600)
    with capsys.disabled():
        print(f"\n{tally}")
    assert tally.writes > 300
    assert tally.refused >= 20 and tally.lost_by_bare >= 1
