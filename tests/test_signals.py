"""Signals are requests while a run is trained, and what they were before and after it."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxae import signals


@pytest.fixture
def heard():
    """What would be heard without `collected`."""
    came = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    yield came
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("again", "meant"), [(60.0, []), (0.0, [signal.SIGTERM])])
def test_the_second_of_a_kind_is_taken_at_its_word_unless_it_comes_at_once(heard, monkeypatch, again, meant):
    monkeypatch.setattr(signals, "AGAIN", again)
    with signals.collected() as asked:
        signal.raise_signal(signal.SIGTERM)
        assert asked == [signal.SIGTERM] and not heard
        signal.raise_signal(signal.SIGTERM)
        assert asked == [signal.SIGTERM] and heard == meant
    signal.raise_signal(signal.SIGTERM)
    assert heard == [*meant, signal.SIGTERM]


def test_outside_the_main_thread_signals_are_somebody_elses(heard):
    def inside():
        with signals.collected() as asked:
            return asked, signal.getsignal(signal.SIGTERM)

    asked, handler = ThreadPoolExecutor(1).submit(inside).result()
    assert asked == [] and handler is signal.getsignal(signal.SIGTERM)
