"""Deadlines: queues simulated by hand, and properties of every shortened plan."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.estimates.deadline import Job, Wish, all_in_time, ends, kept

ONE = {"cpu": [0.0]}


def job(seconds: float, *devices: str) -> Job:
    return Job(seconds=seconds, devices=devices or ("cpu",))


def wish(depth: int, seed: int, seconds: float) -> Wish:
    return Wish(job=job(seconds), depth=depth, seed=seed)


def shown(wishes: list[Wish], **rest: object) -> list[tuple[object, int]]:
    """Return depth and seed of the kept runs."""
    found = kept(wishes, **{"ahead": [], "free_in": ONE, **rest})  # type: ignore[arg-type]
    return [(wishes[index].depth, wishes[index].seed) for index in found]


def test_runs_follow_each_other_on_one_device():
    """After the current run."""
    assert ends([job(10), job(5)], {"cpu": [3.0]}) == [13, 18]


def test_each_run_takes_the_device_that_is_free_first():
    """Two GPUs; a run that needs one of them waits, and the next overtakes it."""
    jobs = [job(10, "a", "b"), job(4, "a", "b"), job(2, "a"), job(1, "a", "b")]

    assert ends(jobs, {"a": [0.0], "b": [0.0]}) == [10, 4, 12, 5]


def test_a_device_with_two_places_trains_two_at_once():
    """As with several slots per device."""
    assert ends([job(10), job(10), job(10)], {"cpu": [0.0, 0.0]}) == [10, 10, 20]


def test_a_run_that_needs_a_whole_device_waits_and_is_not_overtaken():
    """A wide network among narrow ones on two cores."""
    wide = Job(seconds=10, devices=("cpu",), fills=("cpu",))

    assert ends([job(4), wide, job(1), job(1)], {"cpu": [0.0, 0.0]}) == [4, 14, 15, 15]


def test_a_run_without_a_device_never_ends():
    """Its GPU no longer exists."""
    assert ends([job(1, "cuda:7"), job(1)], ONE) == [None, 1]


def test_the_highest_seeds_of_the_longest_depth_go_first():
    """Depth 20 takes 1 s and 56 takes 3 s; the deadline shrinks from eleven to eight and four seconds."""
    wishes = [wish(depth, seed, seconds) for depth, seconds in ((20, 1.5), (56, 4.5)) for seed in (0, 1)]

    assert shown(wishes, within_seconds=12) == [(20, 0), (20, 1), (56, 0), (56, 1)]
    assert shown(wishes, within_seconds=11) == [(20, 0), (20, 1), (56, 0)]
    assert shown(wishes, within_seconds=7) == [(20, 0), (56, 0)]


def test_seeds_go_before_depths_and_come_back_where_a_depth_has_gone():
    """One seed of each is too much, so depth 56 goes, which leaves time for both seeds of depth 20."""
    wishes = [wish(depth, seed, seconds) for depth, seconds in ((20, 1.5), (56, 4.5)) for seed in (0, 1)]

    assert shown(wishes, within_seconds=5) == [(20, 0), (20, 1)]
    assert shown(wishes, within_seconds=2) == [(20, 0)]
    assert shown(wishes, within_seconds=1) == []


def test_architectures_of_a_depth_stay_together():
    """A gap between a residual and a plain network needs both."""
    wishes = [wish(20, 0, 2), wish(56, 0, 2), wish(20, 0, 2), wish(56, 0, 3)]

    assert shown(wishes, within_seconds=8) == [(20, 0), (20, 0)]


def test_what_is_queued_already_goes_first():
    """Ten queued seconds leave five."""
    wishes = [wish(20, 0, 4), wish(20, 1, 4)]

    assert shown(wishes, within_seconds=15) == [(20, 0), (20, 1)]
    assert shown(wishes, within_seconds=15, ahead=[job(10)]) == [(20, 0)]


durations = st.floats(min_value=0.1, max_value=100)


@st.composite
def plans(draw: st.DrawFn) -> list[Wish]:
    """Generate depths, seeds and one or two architectures crossed, with a duration for each network."""
    num_seeds = draw(st.integers(1, 4))
    num_architectures = draw(st.integers(1, 2))
    depths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True))
    devices = draw(st.sampled_from([("a",), ("a", "b"), ("b",)]))
    return [
        Wish(job=Job(seconds=seconds, devices=devices), depth=depth, seed=seed)
        for _ in range(num_architectures)
        for depth in depths
        for seconds in [draw(durations)]
        for seed in range(num_seeds)
    ]


@given(
    wishes=plans(),
    ahead=st.lists(durations.map(lambda seconds: Job(seconds=seconds, devices=("a", "b"))), max_size=3),
    within=st.floats(min_value=0, max_value=2000),
)
def test_what_is_kept_of_any_plan(wishes: list[Wish], ahead: list[Job], within: float):
    """It finishes in time, is complete if possible, and keeps low seeds, balance and short depths."""
    free_in = {"a": [0.0], "b": [7.0]}
    found = kept(wishes, ahead=ahead, free_in=free_in, within_seconds=within)

    assert all_in_time([wishes[index].job for index in found], ahead, free_in, within)
    assert found == sorted(set(found))
    if all_in_time([one.job for one in wishes], ahead, free_in, within):
        assert found == list(range(len(wishes)))
    seeds: dict[object, set[int]] = {}
    for index in found:
        seeds.setdefault(wishes[index].depth, set()).add(wishes[index].seed)
    for depth, chosen in seeds.items():
        assert chosen == set(range(len(chosen))), "the lowest seeds stay"
        whole = [index for index, one in enumerate(wishes) if one.depth == depth and one.seed in chosen]
        assert set(whole) <= set(found), "all architectures of a depth and a seed stay together"
    if seeds:
        counts = [len(chosen) for chosen in seeds.values()]
        assert max(counts) - min(counts) <= 1, "no depth loses a seed while another has two more"
        longest_kept = max(wishes[index].job.seconds for index in found)
        for depth in {one.depth for one in wishes} - seeds.keys():
            assert max(one.job.seconds for one in wishes if one.depth == depth) >= longest_kept
