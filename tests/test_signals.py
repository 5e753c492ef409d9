"""Signals are requests while a run is trained, and what they were before and after it."""

import signal
import subprocess
import sys
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


@pytest.mark.parametrize(("ago", "asked_for"), [(0.1, [signal.SIGINT]), (5.0, [])])
def test_an_interrupt_that_came_a_moment_before_and_was_lost_is_asked_for(monkeypatch, request, ago, asked_for):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    monkeypatch.setattr(signals, "_unheeded", [signals.time.monotonic() - ago])
    monkeypatch.setattr(signals, "AGAIN", 0.0)
    with signals.collected() as asked:
        assert asked == asked_for
        if asked:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


def test_outside_the_main_thread_signals_are_somebody_elses(heard):
    def inside():
        with signals.collected() as asked:
            return asked, signal.getsignal(signal.SIGTERM)

    asked, handler = ThreadPoolExecutor(1).submit(inside).result()
    assert asked == [] and handler is signal.getsignal(signal.SIGTERM)


LOST = """
import signal
from jaxae import signals
signals.watched()
class Callback:
    def __init__(self, error): self.error = error
    def __del__(self): raise self.error
Callback(KeyboardInterrupt())
Callback(ValueError("a mistake"))
"""


def test_python_prints_of_no_interrupt_that_a_callback_has_swallowed():
    err = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=60).stderr
    assert "a mistake" in err and "KeyboardInterrupt" not in err


IMPORTING = """
import signal, sys
from jaxae import cli
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
def verb():
    import slow
cli.finish(verb)
"""


def test_an_interrupt_while_a_module_is_imported_ends_the_process(tmp_path):
    """NumPy makes an ImportError of it, and a traceback."""
    (tmp_path / "slow.py").write_text(
        "import time\nprint('ready', flush=True)\ntry:\n    time.sleep(30)\n"
        "except KeyboardInterrupt:\n    raise ImportError('Encountered an error while initializing the extension')\n"
    )
    words = [sys.executable, "-c", IMPORTING, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == "jaxae: interrupted\n" and process.returncode == 130


SWALLOWING = """
import contextlib, signal, sys, time
from jaxae import signals
signals.GRACE = 0.3
signals.watched()
signal.signal(signal.SIGINT, lambda *_: print("swallowed", flush=True))
with signals.handled(lambda *_: print("taken", flush=True)) if sys.argv[1] == "taken" else contextlib.nullcontext():
    print("ready", flush=True)
    time.sleep(1.5)
print("over", flush=True)
"""


@pytest.mark.parametrize(("how", "code", "said"), [("alone", 130, "swallowed\n"), ("taken", 0, "taken\nover\n")])
def test_an_interrupt_that_is_swallowed_ends_the_process_unless_somebody_takes_it(how, code, said):
    process = subprocess.Popen(
        [sys.executable, "-c", SWALLOWING, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, said) and err == ("jaxae: interrupted\n" if code else "")
