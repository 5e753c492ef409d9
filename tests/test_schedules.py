"""Every schedule by value at its boundaries; every duration; every mistake in one line."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxae import Config, schedules
from jaxae.build import build
from jaxae.errors import InputError

TOTAL, EPOCH = 200, 10
# text, then (step, value) pairs: before, at and after every boundary
VALUES = {
    "0.25": [(0, 0.25), (10**6, 0.25)],
    "linear(0, 1, 4)": [(0, 0), (1, 0.25), (3, 0.75), (4, 1), (5, 1), (10**6, 1)],
    "linear(1, 0.5, 2e)": [(0, 1), (10, 0.75), (20, 0.5), (21, 0.5)],
    "linear(0, 1, 5%)": [(5, 0.5), (10, 1)],
    "cosine(1e-3, 0, 100%)": [(0, 1e-3), (50, 1e-3 * (1 + 0.5**0.5) / 2), (100, 5e-4), (200, 0), (300, 0)],
    "cosine(0, 1, 10)": [(0, 0), (5, 0.5), (10, 1), (11, 1)],
    "warmup_cosine(1, 4)": [(0, 0.2), (3, 0.8), (4, 1), (102, 0.5), (200, 0), (201, 0)],
    "warmup_cosine(1, 5%, 100)": [(9, 10 / 11), (10, 1), (55, 0.5), (100, 0), (150, 0)],
    "warmup_cosine(1, 10, 100, 0.2)": [(10, 1), (55, 0.6), (100, 0.2), (150, 0.2)],
    "exponential(1, 0.01, 1000)": [(0, 1), (500, 0.1), (1000, 0.01), (2000, 0.01)],
    "step(1, 0.5, 5e)": [(0, 1), (49, 1), (50, 0.5), (99, 0.5), (100, 0.25), (149, 0.25)],
    "piecewise(1, 50, 0.1)": [(0, 1), (49, 1), (50, 0.1), (10**6, 0.1)],
    "piecewise(3, 1e, 2, 50%, 1)": [(9, 3), (10, 2), (99, 2), (100, 1)],
    "piecewise(7)": [(0, 7), (100, 7)],
    "cyclic(0, 1, 10)": [(0, 0), (1, 0.2), (4, 0.8), (5, 1), (9, 1), (10, 0), (12, 0.4), (19, 1), (20, 0)],
    "cyclic(0, 2, 1e, 1)": [(0, 0), (5, 1), (9, 1.8), (10, 0)],
}
POINTS = [(text, step, value) for text, points in VALUES.items() for step, value in points]
DURATIONS = [
    (500, 500), ("500", 500), (" 500 ", 500), ("1e3", 1000), ("20e", 200), ("0.5e", 5), ("1.5 e", 15),
    ("5%", 10), ("100%", 200), ("0.25%", 1), ("0.01e", 1), ("1e1e", 100), ("2.5%", 5),
]  # fmt: skip
MISTAKES = {
    "linar(0, 1, 20)": "unknown schedule 'linar': did you mean 'linear'?",
    "linear(0, 1)": r"'linear\(0, 1\)': expected linear\(start, end, over\)",
    "linear()": r"expected linear\(start, end, over\)",
    "linear(0, 1, 2, 3)": r"expected linear\(start, end, over\)",
    "cyclic(0, 1)": r"expected cyclic\(low, high, over, share\)",
    "linear(0, x, 20)": "'x' is not a number",
    "linear(0, nan, 20)": "'nan': expected a finite number, at least 0",
    "linear(inf, 0, 20)": "'inf': expected a finite number, at least 0",
    "linear(0, 1e39, 10)": "'1e39': expected a number of single precision",
    "linear(1e-46, 1, 10)": "'1e-46': expected a number of single precision",
    "linear(0, -1, 20)": "'-1': expected a finite number, at least 0",
    "exponential(0, 1, 20)": "expected a start and an end above 0",
    "exponential(1, 0, 20)": "expected a start and an end above 0",
    "exponential(2e-38, 1e38, 50)": "end / start is beyond single precision",
    "exponential(1e38, 2e-38, 50)": "end / start is beyond single precision",
    "cyclic(0, 1, 10, 0)": "expected a share above 0 and at most 1",
    "cyclic(0, 1, 10, 1.5)": "expected a share above 0 and at most 1",
    "linear(0, 1, 0)": "duration '0': expected more than 0 steps",
    "linear(0, 1, 20 epochs)": r"duration '20 epochs': expected steps \(500\), epochs \(20e\) or per cent",
    "linear 0 1": "expected a number or a schedule such as",
    "piecewise(1, 50)": r"expected piecewise\(value, until, value, until, value, ...\)",
    "piecewise(1, 50, 2, 20, 3)": "expected boundaries that increase, got 50, 20",
    "piecewise(1, 50, 2, 50, 3)": "expected boundaries that increase, got 50, 50",
    "": "'': expected a number or a schedule",
}


def test_boundaries_in_two_units_are_compared_when_the_run_is_known():
    text = "piecewise(1e-3, 500, 1e-4, 20e, 1e-5)"
    schedules.check(text)
    schedules.check("piecewise(1, 0.02%, 2, 0.04%, 3)")
    with pytest.raises(InputError, match="increase, got 500, 200"):
        schedules.make(text, 1000, 10)
    assert schedules.make(text, 30_000, 390)(7_799) == pytest.approx(1e-4)


@pytest.mark.parametrize(("text", "step", "value"), POINTS)
def test_value(text, step, value):
    weight = schedules.make(text, TOTAL, EPOCH)
    assert float(schedules.at_step(weight, step)) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("text", VALUES)
def test_value_inside_a_compiled_step_is_the_same(text):
    weight, points = schedules.make(text, TOTAL, EPOCH), VALUES[text]
    traced = small.jit(jax.vmap(lambda t: jnp.asarray(schedules.at_step(weight, t), jnp.float32)))
    steps, values = (np.array(column) for column in zip(*points))
    np.testing.assert_allclose(traced(steps.astype(np.int32)), values, atol=1e-6)


def test_every_kind_is_tried():
    assert {text.partition("(")[0] for text in VALUES} - {"0.25"} == set(schedules.KINDS)


def test_a_number_stays_a_number():
    assert schedules.make("1e-3", TOTAL, EPOCH) == 1e-3
    assert schedules.at_step(4.0, 17) == 4.0


@pytest.mark.parametrize(("text", "steps"), DURATIONS)
def test_duration(text, steps):
    assert schedules.duration(text, TOTAL, EPOCH) == steps


@pytest.mark.parametrize(
    ("text", "total", "steps"), [("10%", 982, 99), ("10%", 1000, 100), ("30%", 10, 3), ("2.5e", 982, 25), (98, 982, 98)]
)
def test_a_cadence_is_no_shorter_than_asked_for(text, total, steps):
    assert schedules.duration(text, total, 9.82, up=True) == steps


def test_the_cadences_of_a_run_are_rounded_up():
    setup = build(Config())
    assert setup.total == 982 and setup.every("10%") == 99


@pytest.mark.parametrize("percent", [1, 3, 10, 33.4, 100])
def test_what_comes_every_tenth_of_a_run_comes_no_more_than_ten_times(percent):
    for total in [*range(1, 200), 982, 4768, 469_000, 9_815_625]:
        every = schedules.duration(f"{percent}%", total, None, up=True)
        assert math.ceil(total / every) <= math.ceil(100 / percent), total


def test_epochs_follow_without_a_gap_where_the_batch_does_not_divide_the_data():
    assert schedules.duration("20e", None, 1257 / 128) == 196  # not 20 * 9 nor 20 * 10


def test_a_warm_up_that_is_longer_than_the_whole_is_refused_where_the_steps_are_known():
    schedules.check("warmup_cosine(1, 5e, 100)")  # 100 steps may be 10 epochs or less than 5
    with pytest.raises(InputError, match="over 100 holds the warm-up too: expected more than 5e"):
        schedules.make("warmup_cosine(1, 5e, 100)", TOTAL, 20.0)
    for text in ("warmup_cosine(1, 500, 400)", "warmup_cosine(1, 50%, 50%)"):
        with pytest.raises(InputError, match="holds the warm-up too"):
            schedules.check(text)


@pytest.mark.parametrize("text", ["", "x", "-5", "5 %%", "e", "nan", "inf", True, "5s"])
def test_no_duration(text):
    with pytest.raises(InputError, match=r"expected steps \(500\), epochs \(20e\) or per cent of the run \(5%\)"):
        schedules.duration(text, TOTAL, EPOCH)


@pytest.mark.parametrize("text", [0, "0", "0e", "0%", "0.0e"])
def test_duration_of_nothing(text):
    with pytest.raises(InputError, match=f"duration {text!r}: expected more than 0 steps"):
        schedules.duration(text, TOTAL, EPOCH)


@pytest.mark.parametrize(("text", "total", "epoch"), [("5%", None, 10), ("5e", 100, None)])
def test_duration_in_a_unit_that_is_not_known_yet(text, total, epoch):
    with pytest.raises(InputError, match="is not known here; expected a number of steps"):
        schedules.duration(text, total, epoch)


@pytest.mark.parametrize("text", MISTAKES)
def test_mistake_is_named_in_one_line(text):
    with pytest.raises(InputError, match=MISTAKES[text]) as caught:
        schedules.check(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        (0.001, False), ("linear(0, 1, 20e)", False), ("linear(0, 1, 5%)", True),
        ("cosine(1, 0, 100%)", True), ("warmup_cosine(1, 50)", True), ("warmup_cosine(1, 50, 500)", False),
        ("warmup_cosine(1, 50, 100%)", True),
        ("piecewise(1, 50%, 2)", True), ("piecewise(1, 50, 2)", False),
    ],
)  # fmt: skip
def test_needs_horizon(text, needs):
    """Exactly those whose values change with the length of the run."""
    assert schedules.needs_horizon(text) is needs
    short, long = (schedules.make(text, total, EPOCH) for total in (1000, 5000))
    values = [[float(schedules.at_step(weight, t)) for t in (10, 200, 700)] for weight in (short, long)]
    assert (values[0] != values[1]) is needs


def test_the_grammar_in_the_help_has_every_schedule_and_each_example_is_one():
    examples = [example for example, said in schedules.grammar() if said]
    for example in examples:
        schedules.check(example)
    assert {example.partition("(")[0] for example in examples} == {"0.001", *schedules.KINDS}


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("linear(0,1.0,20.0e)", "linear(0, 1, 20e)"),
        (" cyclic( 0, 1,10e , .5)", "cyclic(0, 1, 10e, 0.5)"),
        ("piecewise(1e-3, 5e2, 1E-4)", "piecewise(0.001, 500, 0.0001)"),
        ("linear(0, 1, 1e3e)", "linear(0, 1, 1000e)"),
        ("12.50%", "12.5%"),
        ("100e", "100e"),
        ("1e-3", "0.001"),
    ],
)
def test_what_is_the_same_is_spelled_in_one_way(text, spelled):
    assert schedules.spelled(text) == spelled == schedules.spelled(spelled)
