"""One budget of GPUs for all modalities: never exceeded, the important first, nothing that works taken."""

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.fleet import Fleet
from autoscaler.observation import Observation
from autoscaler.policy import Decision
from autoscaler.rules import FleetRules, Rules
from trichord.demand import Demand, Modality

MODALITIES: tuple[Modality, ...] = ("vision", "audio", "decoder")


def settled_rules(**told: float) -> Rules:
    return Rules(default_rate=10.0, startup_s=30.0, drain_s=10.0, max_replicas=20, **told)


def seen(modality: Modality, replicas: int, **demand: float) -> Observation:
    return Observation(Demand(modality=modality, **demand), replicas, replicas)


def decide(budget: float, rules: dict[Modality, Rules], *seen_now: Observation) -> dict[Modality, Decision]:
    fleet = Fleet(FleetRules(gpu_budget=budget, modalities=rules))
    return fleet.decide({see.demand.modality: see for see in seen_now if see.demand}, {}, 0.0)


fleets = st.fixed_dictionaries(
    {
        modality: st.tuples(
            st.builds(
                settled_rules, priority=st.integers(0, 2), gpus_per_replica=st.sampled_from([0.0, 0.5, 1.0, 2.0])
            ),
            st.integers(0, 12),
            st.integers(0, 12),
            st.floats(0, 300),
            st.floats(0, 300),
            st.booleans(),
        )
        for modality in MODALITIES
    }
)


@settings(max_examples=200)
@given(fleets, st.floats(0, 24))
def test_the_budget_holds_and_nothing_that_works_is_taken(fleet: dict[Modality, tuple], budget: float) -> None:
    observations = {
        name: Observation(
            None if silent else Demand(modality=name, arrived_cost_per_s=arrived, running_cost=running),
            replicas,
            min(ready, replicas),
        )
        for name, (_, replicas, ready, arrived, running, silent) in fleet.items()
    }
    rules = {name: told for name, (told, *_) in fleet.items()}
    free = Fleet(FleetRules(modalities=rules)).decide(observations, {}, 0.0)
    bound = Fleet(FleetRules(gpu_budget=budget, modalities=rules)).decide(observations, {}, 0.0)
    gpus = {name: rules[name].gpus_per_replica for name in fleet}
    irreducible = sum(gpus[name] * min(free[name].floor, observations[name].num_replicas) for name in fleet)
    assert sum(gpus[name] * bound[name].replicas for name in fleet) <= max(budget, irreducible) + 1e-6
    for name in fleet:
        assert bound[name].replicas <= free[name].replicas
        assert bound[name].replicas >= min(free[name].floor, observations[name].num_replicas)
        assert gpus[name] or bound[name].replicas == free[name].replicas


def test_the_highest_priority_gets_the_last_gpu() -> None:
    rules = {"vision": settled_rules(priority=1), "audio": settled_rules(priority=2)}
    told = decide(
        5.0,
        rules,
        seen("vision", 2, arrived_cost_per_s=30),
        seen("audio", 2, arrived_cost_per_s=30),
    )
    assert (told["vision"].replicas, told["audio"].replicas) == (1, 4)
    assert told["vision"].reason.startswith("Limited to 1 by the budget of 5 GPUs; without it: Up from 2 to 6")


def test_equals_take_nothing_from_each_other() -> None:
    rules = {"vision": settled_rules(), "audio": settled_rules()}
    told = decide(4.0, rules, seen("vision", 3, arrived_cost_per_s=50), seen("audio", 1, arrived_cost_per_s=50))
    assert (told["vision"].replicas, told["audio"].replicas) == (3, 1)


def test_a_sleeper_that_is_wanted_gets_one_even_from_the_more_important() -> None:
    rules = {"vision": settled_rules(priority=0), "decoder": settled_rules(priority=5)}
    told = decide(4.0, rules, seen("vision", 0, num_held=1), seen("decoder", 4, arrived_cost_per_s=100))
    assert (told["vision"].replicas, told["decoder"].replicas) == (1, 3)


def test_running_work_is_not_taken_for_the_more_important() -> None:
    rules = {"vision": settled_rules(priority=0), "decoder": settled_rules(priority=5)}
    told = decide(
        4.0,
        rules,
        seen("vision", 3, arrived_cost_per_s=20, running_cost=290),
        seen("decoder", 1, arrived_cost_per_s=100),
    )
    assert (told["vision"].replicas, told["decoder"].replicas) == (3, 1)


def test_without_a_budget_each_has_what_it_wants() -> None:
    fleet = Fleet(FleetRules(modalities={"vision": settled_rules(), "audio": settled_rules()}))
    load = {name: seen(name, 4, arrived_cost_per_s=64) for name in ("vision", "audio")}
    assert {name: decision.replicas for name, decision in fleet.decide(load, {}, 0.0).items()} == {
        "vision": 8,
        "audio": 8,
    }


def test_a_modality_that_is_not_observed_is_not_decided() -> None:
    fleet = Fleet(FleetRules())
    assert set(fleet.decide({"vision": seen("vision", 1)}, {}, 0.0)) == {"vision"}
