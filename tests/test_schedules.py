"""Schedules: where they start, how they go on, where they end."""

import math
import pickle
from dataclasses import is_dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import schedules
from core.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    FlatCosine,
    OneCycle,
    StepDecay,
    WarmUp,
)

peaks = st.floats(1e-6, 10)
lengths = st.integers(1, 500)
names = st.sampled_from(sorted(SCHEDULES))


def test_every_schedule_can_be_chosen_by_name():
    classes = {value for value in vars(schedules).values() if isinstance(value, type) and is_dataclass(value)}
    assert {type(make(1.0, 100)) for make in SCHEDULES.values()} == classes


@given(name=names, peak=peaks, steps=lengths)
def test_a_rate_lies_between_zero_and_the_peak(name, peak, steps):
    rates = [SCHEDULES[name](peak, steps)(step) for step in range(steps)]
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in rates)
    assert max(rates) > 0.5 * peak or steps < 20


@given(name=names.filter(lambda name: name not in ("step", "constant")), peak=peaks, steps=st.integers(40, 500))
def test_curves_are_continuous(name, peak, steps):
    """No jump is larger than the steepest leg allows: half a cosine over a 30 % leg, or a warm-up of 1/20."""
    rates = [SCHEDULES[name](peak, steps)(step) for step in range(2 * steps)]
    slope = 25 if name == "warm_up" else 6
    assert max(abs(b - a) for a, b in pairwise(rates)) < slope * peak / steps


@given(name=names, peak=peaks, steps=lengths)
def test_schedules_are_values(name, peak, steps):
    schedule = SCHEDULES[name](peak, steps)
    assert schedule == SCHEDULES[name](peak, steps) == pickle.loads(pickle.dumps(schedule))  # noqa: S301
    assert schedule != SCHEDULES[name](2 * peak, steps)
    assert eval(repr(schedule), vars(schedules)) == schedule  # noqa: S307
    with pytest.raises(AttributeError):
        schedule.peak = 0.0


@given(name=st.sampled_from(["cosine", "warm_up", "one_cycle", "flat_cosine"]), peak=peaks, steps=lengths)
def test_a_named_curve_ends_with_the_training(name, peak, steps):
    schedule = SCHEDULES[name](peak, steps)
    assert schedule(steps) == schedule(2 * steps) < schedule(steps - 1)
    assert schedule(steps) <= peak * 1.001e-5


@given(peak=peaks, every=st.integers(1, 50), factor=st.floats(0.05, 1), stairs=st.integers(0, 20))
def test_stairs_and_the_curve_meet_at_the_corners(peak, every, factor, stairs):
    step_decay, exponential = StepDecay(peak, every, factor), Exponential(peak, every, factor)
    corner = stairs * every
    assert step_decay(corner) == step_decay(corner + every - 1) == pytest.approx(exponential(corner))
    assert step_decay(corner) == pytest.approx(peak * factor**stairs)


@given(peak=peaks, steps=lengths, part=st.floats(0, 1))
def test_cosine(peak, steps, part):
    end = part * peak
    cosine = Cosine(peak, steps, end)
    assert (cosine(0), cosine(steps), cosine(3 * steps)) == (peak, end, end)
    for step in range(steps + 1):  # symmetric about its middle
        assert cosine(step) + cosine(steps - step) == pytest.approx(peak + end)


@given(peak=peaks, warm=st.integers(0, 50), steps=lengths)
def test_warm_up_is_a_line_into_what_follows(peak, warm, steps):
    after = Cosine(peak, steps)
    schedule = WarmUp(after, warm)
    for step in range(warm):
        assert schedule(step) == pytest.approx((step + 1) * schedule(0))
    assert schedule(warm) == peak == pytest.approx((warm + 1) * schedule(0))
    for step in range(steps):
        assert schedule(warm + step) == after(step)


def test_warm_up_takes_any_function():
    assert WarmUp(lambda step: 8.0, 3)(0) == 2.0
    assert WarmUp(WarmUp(Constant(8.0), 1), 1)(0) == 2.0


@given(peak=peaks, steps=st.integers(10, 500), up=st.floats(0.1, 0.9))
def test_one_cycle_climbs_then_descends(peak, steps, up):
    cycle = OneCycle(peak, steps, up, start_divisor=20, end_divisor=1000)
    rates = [cycle(step) for step in range(steps + 1)]
    top = math.ceil(up * steps)
    assert rates[0] == pytest.approx(peak / 20)
    assert rates[-1] == cycle(2 * steps) == pytest.approx(peak / 1000)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@given(peak=peaks, steps=lengths, flat=st.floats(0, 0.99))
def test_flat_cosine_is_flat_then_a_cosine(peak, steps, flat):
    schedule = FlatCosine(peak, steps, flat)
    rates = [schedule(step) for step in range(steps + 1)]
    assert all(rate == peak for step, rate in enumerate(rates) if step <= flat * steps)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0
    if flat == 0:
        assert rates == [Cosine(peak, steps)(step) for step in range(steps + 1)]


def test_some_values():
    assert [StepDecay(1.0, 2, 0.5)(step) for step in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert [Exponential(1.0, 2, 0.25)(step) for step in range(4)] == pytest.approx([1, 0.5, 0.25, 0.125])
    assert [Cosine(2.0, 4)(step) for step in range(5)] == pytest.approx([2, 1 + 0.5**0.5, 1, 1 - 0.5**0.5, 0])
    assert [OneCycle(1.0, 4, 0.5, 5, 10)(step) for step in range(5)] == pytest.approx([0.2, 0.6, 1, 0.55, 0.1])
    assert [FlatCosine(1.0, 4, 0.5)(step) for step in range(5)] == pytest.approx([1, 1, 1, 0.5, 0])


def test_agreement_with_torch():
    torch = pytest.importorskip("torch")
    rate = torch.optim.lr_scheduler
    steps, peak = 40, 0.3

    def theirs(scheduler, **arguments):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
        scheduler = scheduler(optimizer, **arguments)
        for _ in range(steps):
            yield optimizer.param_groups[0]["lr"]
            optimizer.step()
            scheduler.step()

    up = (0.3 * steps + 1) / (steps + 1)  # torch counts both ends of a cycle as steps
    one_cycle = {"max_lr": peak, "total_steps": steps + 1, "pct_start": up, "final_div_factor": 1e5 / 25}
    for schedule, expected in [
        (StepDecay(peak, 7, 0.3), theirs(rate.StepLR, step_size=7, gamma=0.3)),
        (Exponential(peak, 1, 0.9), theirs(rate.ExponentialLR, gamma=0.9)),
        (Cosine(peak, steps, 0.01), theirs(rate.CosineAnnealingLR, T_max=steps, eta_min=0.01)),
        (OneCycle(peak, steps), theirs(rate.OneCycleLR, **one_cycle)),
    ]:
        assert [schedule(step) for step in range(steps)] == pytest.approx(list(expected), rel=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("peak", [0.0, -1.0, math.nan, math.inf])
def test_a_peak_is_positive(name, peak):
    with pytest.raises(ValueError, match="peak must be positive"):
        SCHEDULES[name](peak, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cosine(1.0, 0), "steps must be positive"),
        (lambda: Cosine(1.0, 5, end=-0.1), "end must lie between"),
        (lambda: Cosine(1.0, 5, end=2.0), "end must lie between"),
        (lambda: StepDecay(1.0, 0), "every must be positive"),
        (lambda: StepDecay(1.0, 1, -0.5), "factor must be positive"),
        (lambda: Exponential(1.0, 1, 0.0), "factor must be positive"),
        (lambda: WarmUp(Constant(1.0), -1), "steps must not be negative"),
        (lambda: OneCycle(1.0, 0), "steps must be positive"),
        (lambda: OneCycle(1.0, 9, up=0.0), "up is a part"),
        (lambda: OneCycle(1.0, 9, up=1.0), "up is a part"),
        (lambda: OneCycle(1.0, 9, start_divisor=0.5), "divisor"),
        (lambda: OneCycle(1.0, 9, end_divisor=math.inf), "divisor"),
        (lambda: FlatCosine(1.0, 9, flat=1.0), "flat is a part"),
        (lambda: FlatCosine(1.0, 9, flat=-0.1), "flat is a part"),
    ],
)
def test_senseless_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
