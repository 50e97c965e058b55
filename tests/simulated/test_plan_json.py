"""Plans as JSON: what is saved is what runs, and what cannot be is refused with its place."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from simulations.faults import Corruption, Crash, Fault, Partition, Ring, Slow, Throttle, Weather
from simulations.network.latency import Pareto
from simulations.network.network import Conditions
from simulations.plans.plan_json import PlanError, check_plan, dump_plan, load_plan
from simulations.plans.plans import random_plan
from simulations.plans.strategies import faults, plans
from simulations.world import SECOND

NAMES = ["n0", "n1", "n2", "n3"]


@given(plans(NAMES))
def test_any_plan_comes_back_as_it_was_and_equal_plans_have_equal_texts(plan: list[Fault]) -> None:
    text = dump_plan(plan)
    assert load_plan(text, NAMES) == plan
    assert dump_plan(load_plan(text)) == text
    assert json.dumps(json.loads(text)) == json.dumps(json.loads(dump_plan(plan, "    ")))


@given(st.integers(0, 1 << 32), st.integers(2, 9), st.integers(0, 40))
def test_random_plans_come_back_as_they_were(seed: int, nodes: int, count: int) -> None:
    names = [f"n{number}" for number in range(nodes)]
    plan = random_plan(seed, names, count, 30 * SECOND)
    check_plan(plan, names)
    assert load_plan(dump_plan(plan), names) == plan


@pytest.mark.parametrize("kind", get_args(Fault))
def test_the_strategy_draws_every_kind(kind: type[Fault]) -> None:
    once = settings(phases=[Phase.generate], max_examples=500)
    assert isinstance(find(faults(NAMES), lambda fault: isinstance(fault, kind), settings=once), kind)


def test_the_text_is_what_the_docs_say() -> None:
    plan: list[Fault] = [
        Partition(SECOND, 3 * SECOND, ("n0", "n3")),
        Crash(2 * SECOND, 0, "n1", wipe=True),
        Weather(0, 5, Conditions((1, 2), loss=0.5), None, ("n2",)),
        Weather(0, 5, Conditions(Pareto(200_000, 1_500)), ("n1",)),
        Ring(0, 5, ("n2", "n0", "n1", "n3")),
        Throttle(0, 5, 20_000, targets=("n0",)),
        Corruption(0, 5, 0.01, 0.001),
        Slow(0, 5, "n1", 1_000_000),
    ]
    assert dump_plan(plan) == (
        "[\n"
        '  {"kind": "Partition", "at": 1000000000, "lasts": 3000000000, "side": ["n0", "n3"]},\n'
        '  {"kind": "Crash", "at": 2000000000, "lasts": 0, "whom": "n1", "wipe": true},\n'
        '  {"kind": "Weather", "at": 0, "lasts": 5, "conditions": {"latency": [1, 2], "loss": 0.5}, "targets": ["n2"]},\n'
        '  {"kind": "Weather", "at": 0, "lasts": 5, '
        '"conditions": {"latency": {"kind": "Pareto", "lowest": 200000, "alpha": 1500}}, "sources": ["n1"]},\n'
        '  {"kind": "Ring", "at": 0, "lasts": 5, "order": ["n2", "n0", "n1", "n3"]},\n'
        '  {"kind": "Throttle", "at": 0, "lasts": 5, "bytes_per_s": 20000, "targets": ["n0"]},\n'
        '  {"kind": "Corruption", "at": 0, "lasts": 5, "datagrams": 0.01, "streams": 0.001},\n'
        '  {"kind": "Slow", "at": 0, "lasts": 5, "whom": "n1", "step": 1000000}\n'
        "]"
    )
    assert dump_plan([]) == "[]"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "plan: no JSON"),
        ("{}", "plan: a list of faults is wanted, not {}"),
        ("[7]", "plan[0]: a fault is an object, not 7"),
        ('[{"at": 1}]', "plan[0].kind: missing; the kinds are Partition, "),
        ('[{"kind": "Meteor"}]', 'plan[0].kind: unknown kind "Meteor"; the kinds are Partition, '),
        ('[{"kind": ["Pause"]}]', 'plan[0].kind: unknown kind ["Pause"]'),
        (
            '[{"kind": "Pause", "at": 0, "lasts": 1, "whom": "n0"}, {"kind": "Pause", "at": 0, "whom": "n0"}]',
            "plan[1].lasts: missing; Pause needs it",
        ),
        (
            '[{"kind": "Pause", "at": 0, "lasts": 1, "who": "n0"}]',
            "plan[0].who: Pause has no such field; it has at, lasts, whom",
        ),
        ('[{"kind": "Pause", "at": 0, "lasts": 1, "whom": "n9"}]', 'plan[0].whom: unknown node "n9"; there are n0, n1, n2, n3'),
        ('[{"kind": "Pause", "at": 0, "lasts": 1, "whom": 3}]', "plan[0].whom: the name of a node is wanted, not 3"),
        ('[{"kind": "Pause", "at": 0.5, "lasts": 1, "whom": "n0"}]', "plan[0].at: a whole number is wanted, not 0.5"),
        ('[{"kind": "Pause", "at": true, "lasts": 1, "whom": "n0"}]', "plan[0].at: a whole number is wanted, not true"),
        ('[{"kind": "Pause", "at": -1, "lasts": 1, "whom": "n0"}]', "plan[0].at: must not be negative, and is -1"),
        ('[{"kind": "Crash", "at": 0, "lasts": 1, "whom": "n0", "wipe": 1}]', "plan[0].wipe: true or false is wanted, not 1"),
        ('[{"kind": "Partition", "at": 0, "lasts": 1, "side": []}]', "plan[0].side: a list of one node or more is wanted"),
        ('[{"kind": "Partition", "at": 0, "lasts": 1, "side": ["n0", "x"]}]', 'plan[0].side[1]: unknown node "x"'),
        (
            '[{"kind": "Partition", "at": 0, "lasts": 1, "side": ["n0", "n1", "n2", "n3"]}]',
            "plan[0].side: names every node: nobody is on the other side",
        ),
        (
            '[{"kind": "Cut", "at": 0, "lasts": 1, "one": "n0", "other": "n0"}]',
            "plan[0].other: 'n0' cannot be cut off from itself",
        ),
        (
            '[{"kind": "Rate", "at": 0, "lasts": 1, "whom": "n0", "ppm": -1000000}]',
            "plan[0].ppm: -1000000 would stop the clock",
        ),
        (
            '[{"kind": "Weather", "at": 0, "lasts": 1, "conditions": {"loss": 1.5}}]',
            "plan[0].conditions.loss: a number from 0 to 1 is wanted, not 1.5",
        ),
        (
            '[{"kind": "Weather", "at": 0, "lasts": 1, "conditions": {"latency": [5, 1]}}]',
            "plan[0].conditions.latency: the lowest, 5, is above the highest, 1",
        ),
        ('[{"kind": "Weather", "at": 0, "lasts": 1, "conditions": 3}]', "plan[0].conditions: an object is wanted, not 3"),
        (
            '[{"kind": "Weather", "at": 0, "lasts": 1, "conditions": {"latency": 7}}]',
            "plan[0].conditions.latency: lowest and highest ns, or a shape, are wanted, not 7",
        ),
        (
            '[{"kind": "Weather", "at": 0, "lasts": 1, "conditions": {"latency": [1, 2, 3]}}]',
            "plan[0].conditions.latency: lowest and highest ns, or a shape, are wanted, not [1, 2, 3]",
        ),
        (
            '[{"kind": "Weather", "at": 0, "lasts": 1, "conditions": {"latency": [1, -2]}}]',
            "plan[0].conditions.latency[1]: must not be negative, and is -2",
        ),
        (
            '[{"kind": "Weather", "at": 0, "lasts": 1, "conditions": {"latency": {"kind": "Gauss"}}}]',
            'plan[0].conditions.latency.kind: unknown kind "Gauss"; the kinds are LogNormal, Pareto',
        ),
        (
            '[{"kind": "Weather", "at": 0, "lasts": 1, "conditions": {"latency": {"kind": "LogNormal", "median": 5}}}]',
            "plan[0].conditions.latency.sigma: missing; LogNormal needs it",
        ),
        (
            '[{"kind": "Weather", "at": 0, "lasts": 1, '
            '"conditions": {"latency": {"kind": "LogNormal", "median": 5, "sigma": 5001}}}]',
            "plan[0].conditions.latency.sigma: must not be above 5000, and is 5001",
        ),
        (
            '[{"kind": "Weather", "at": 0, "lasts": 1, '
            '"conditions": {"latency": {"kind": "Pareto", "lowest": 5, "alpha": 99}}}]',
            "plan[0].conditions.latency.alpha: must not be below 100, and is 99",
        ),
        (
            '[{"kind": "Ring", "at": 0, "lasts": 1, "order": ["n0", "n1", "n0"]}]',
            "plan[0].order[2]: 'n0' stands in the ring already",
        ),
        ('[{"kind": "Ring", "at": 0, "lasts": 1, "order": ["n0", "n7"]}]', 'plan[0].order[1]: unknown node "n7"'),
        (
            '[{"kind": "RandomCuts", "at": 0, "lasts": 1, "chance": 2, "draw": 1}]',
            "plan[0].chance: a number from 0 to 1 is wanted, not 2",
        ),
        (
            '[{"kind": "RandomCuts", "at": 0, "lasts": 1, "chance": 0.5}]',
            "plan[0].draw: missing; RandomCuts needs it",
        ),
        (
            '[{"kind": "Throttle", "at": 0, "lasts": 1, "bytes_per_s": 0}]',
            "plan[0].bytes_per_s: 0 lets nothing pass; to cut links there is OneWay",
        ),
        (
            '[{"kind": "Throttle", "at": 0, "lasts": 1, "bytes_per_s": 9, "queue_bytes": -1}]',
            "plan[0].queue_bytes: must not be negative, and is -1",
        ),
        (
            '[{"kind": "Corruption", "at": 0, "lasts": 1, "datagrams": 0.1, "streams": "often"}]',
            'plan[0].streams: a number from 0 to 1 is wanted, not "often"',
        ),
        (
            '[{"kind": "Corruption", "at": 0, "lasts": 1, "datagrams": 0.1, "targets": ["n9"]}]',
            'plan[0].targets[0]: unknown node "n9"',
        ),
        (
            '[{"kind": "Slow", "at": 0, "lasts": 1, "whom": "n0", "step": 5, "stalls": 1.5}]',
            "plan[0].stalls: a number from 0 to 1 is wanted, not 1.5",
        ),
        ('[{"kind": "Slow", "at": 0, "lasts": 1, "whom": "n0"}]', "plan[0].step: missing; Slow needs it"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(PlanError) as refused:
        load_plan(text, NAMES)
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)


def test_a_plan_of_objects_is_held_to_the_same_rules() -> None:
    with pytest.raises(PlanError, match=r"^plan\[0\]\.whom: unknown node"):
        check_plan([Crash(0, 0, "n7")], NAMES)
