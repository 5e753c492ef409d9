"""Real processes on loopback, 2 of 2 virtual devices each: what they tell each other, and how all end with one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import jax
import numpy as np
import pytest
from click.testing import CliRunner

from jaxae import hosts
from jaxae.cli.hosts import host_options
from jaxae.cli.supervise import LOST, End, verdict
from jaxae.cli.supervised import is_loss
from jaxae.errors import InputError
from jaxae.join import Hosts, join

pytestmark = pytest.mark.optimised

ROOT = Path(__file__).parents[1]
PEER_TIMEOUT = 10
BOUND = PEER_TIMEOUT + 5
"""Seconds within which the others have ended, on a busy machine."""
LOST_LINE = (
    "jaxae: lost contact with another process of this run (process {} of 2 here): restart all of them with the same "
    "command, it goes on from the last checkpoint\n"
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(tmp_path, number, port, *words, count=2, join_timeout=60):
    place = {"coordinator": f"127.0.0.1:{port}", "process-id": number, "num-processes": count}
    flags = {**place, "peer-timeout": PEER_TIMEOUT, "join-timeout": join_timeout}
    return begin(tmp_path, number, *(f"--{name}={value}" for name, value in flags.items()), *map(str, words))


def begin(tmp_path, number, *words, **env):
    temporary = tmp_path / f"tmp{number}"
    temporary.mkdir(exist_ok=True)
    env |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2", "TMPDIR": str(temporary)}
    words = [sys.executable, "-m", "tests.host_worker", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, env={**os.environ, **env}, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def pair(tmp_path):
    """Starts both processes of a run; ends what is left of them."""
    started = []

    def both(*words):
        port = free_port()
        started.extend(start(tmp_path, number, port, *words) for number in (0, 1))
        return started[-2:]

    yield both
    for process in started:
        process.kill()
        process.communicate()
    assert not list(tmp_path.glob("tmp*/*")), "a log was left"


def ends(processes, seconds=120):
    """(exit code, the JSON lines said, standard error) of each."""
    out = [process.communicate(timeout=seconds) for process in processes]
    said = [[json.loads(line) for line in text.splitlines()] for text, _ in out]
    return [(process.returncode, lines, error) for process, lines, (_, error) in zip(processes, said, out)]


def test_each_has_what_process_0_has_and_its_refusals(pair):
    bits = np.array([0x7FC0BEEF, 0x000002CA, 0x40600000, 0x7F800000], np.uint32).tobytes().hex()
    for number, (code, (values, *caught), error) in enumerate(ends(pair("values"))):
        assert values.pop("same") == [bits, 2.5, "bfloat16", 2**40]
        assert values == {
            "process": number, "count": 2, "leads": number == 0, "devices": [4, 2],
            "first": 0, "length": 1000, "nothing": None,
            "agree": [[2**40, 0], [2**40 + 1, -1]], "scalar": [0.1, 1.1],
        }  # fmt: skip
        assert caught[0] == {"process": number, "caught": "InputError", "text": "bad --steps"}
        assert "No such file" in caught[1]["text"] and "x.npz" in caught[1]["text"]
        assert caught[2]["differ"] == (
            "the processes differ in learning_rate, data: expected the same command, files and versions in each"
        )
        assert (code, error) == (2, "jaxae: --data x: unknown\n")


@pytest.mark.slow
def test_checkpoints_taken_together_are_had_by_two_and_by_one(pair, tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    for code, (saved, newest), error in ends(pair("checkpoints", folder)):
        assert (code, error) == (0, "")
        assert (saved["there"], saved["steps"], saved["best"]) == (["1", "2"], [1, 2], 1)
        assert newest["meta"] == {"n": [2]} and newest["step"] == 2
        assert len(set(saved["digests"])) == 1
        assert newest["refused"] == f"no checkpoint of step 7 in {folder}: there are 1, 2"
    found = {"step": 2, "digest": saved["digests"][0]}
    alone = start(tmp_path, 0, free_port(), "restore", folder, count=1)
    for code, lines, error in [*ends(pair("restore", folder)), *ends([alone])]:
        assert (code, lines, error) == (0, [found], "")


@pytest.mark.slow
def test_a_coordinator_that_does_not_answer_is_one_line(tmp_path):
    port, begun = free_port(), time.monotonic()
    ((code, _, error),) = ends([start(tmp_path, 1, port, "loop", join_timeout=3)])
    assert code == 2 and time.monotonic() - begun < 15
    assert error.startswith(f"jaxae: no coordinator answered at 127.0.0.1:{port} within 3 s (connection refused): ")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_launcher_is_asked_and_one_waits_at_the_end_for_another_that_has_more_to_do(tmp_path):
    slurm = {
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
    }  # fmt: skip
    places = [{"SLURM_PROCID": number, "SLURM_LOCALID": "0"} for number in "01"]
    both = [begin(tmp_path, place["SLURM_PROCID"], "--distributed", "late", **slurm, **place) for place in places]
    for number, end in enumerate(ends(both)):
        assert end == (0, [{"done": number}], "")
    ((code, _, error),) = ends([begin(tmp_path, 0, "--distributed", "late")])
    assert code == 2 and error.count("\n") == 1
    assert error.startswith("jaxae: --distributed: no launcher was found (Slurm, Open MPI, GKE, Cloud TPU): start ")


@pytest.mark.slow
def test_a_process_that_stays_away_and_a_port_that_is_taken_are_one_line(tmp_path):
    port = free_port()
    ((code, _, error),) = ends([start(tmp_path, 0, port, "loop", join_timeout=5)])
    assert code == 2 and error.count("\n") == 1
    line = f"jaxae: not all of the 2 processes came to the coordinator at 127.0.0.1:{port} within 5 s: "
    assert error.startswith(line)
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        ((code, _, error),) = ends([start(tmp_path, 0, port, "loop")])
        line = f"--coordinator 127.0.0.1:{port}: process 0 cannot listen there: address already in use"
        assert (code, error) == (2, f"jaxae: {line}\n")
    assert not list(tmp_path.glob("tmp*/*"))


def steps(process):
    """The next line of a worker in its loop."""
    return json.loads(process.stdout.readline())


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("who", ["supervisor", "child"])
@pytest.mark.slow
def test_kill_9_of_one_ends_the_other(pair, victim, who, tmp_path):
    processes = pair("loop")
    pids = [steps(process)["pid"] for process in processes]
    if who == "supervisor":
        processes[victim].kill()
    else:
        os.kill(pids[victim], signal.SIGKILL)
    ((code, _, error),) = ends([processes[1 - victim]], BOUND)
    assert (code, error) == (1, LOST_LINE.format(1 - victim))
    code, _, error = ends([processes[victim]])[0]
    if who == "child":  # nobody knows why it was killed: the libraries' words are kept
        (log,) = tmp_path.glob(f"tmp{victim}/jaxae-*.log")
        line = f"jaxae: ended by SIGKILL (out of memory?): what the libraries said before is in {log}\n"
        assert (code, error) == (137, line)
    for log in tmp_path.glob(f"tmp{victim}/*"):
        log.unlink()
    assert gone(pids[victim])


def gone(pid):
    """Whether a process is over, soon."""
    for _ in range(50):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                time.sleep(0.1)
                continue
        return True
    return False


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.slow
def test_a_process_that_hangs_ends_the_other(pair, victim):
    processes = pair("loop")
    pids = [steps(process)["pid"] for process in processes]
    os.kill(pids[victim], signal.SIGSTOP)
    ((code, _, error),) = ends([processes[1 - victim]], BOUND)
    assert (code, error) == (1, LOST_LINE.format(1 - victim))
    os.kill(pids[victim], signal.SIGCONT)
    ((code, _, error),) = ends([processes[victim]], BOUND)
    assert (code, error) == (1, LOST_LINE.format(victim))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_one_ends_all_alike(pair, number):
    processes = pair("loop")
    for process in processes:
        steps(process)
    processes[1].send_signal(number)
    (first, _, said), (second, _, too) = ends(processes)
    assert first == second == 128 + number
    assert said == too and said.startswith("jaxae: stopped at ")


@pytest.mark.slow
def test_one_that_refuses_alone_says_why_and_ends_the_other(pair):
    (code, _, error), (own, _, why) = ends(pair("alone"))
    assert (own, why) == (2, "jaxae: process 1 has no data\n")
    assert (code, error) == (1, LOST_LINE.format(0))


@pytest.mark.slow
def test_a_bug_shows_its_traceback_and_ends_the_other(pair):
    (code, _, error), (own, _, why) = ends(pair("bug"))
    assert own == 1 and why.startswith("Traceback") and why.endswith("ZeroDivisionError: a bug\n")
    assert (code, error) == (1, LOST_LINE.format(0))


@pytest.mark.slow
def test_an_abort_of_unknown_cause_names_the_file(pair, tmp_path):
    (code, _, error), (own, _, why) = ends(pair("crash"))
    (log,) = tmp_path.glob("tmp1/jaxae-*.log")
    assert (own, why) == (134, f"jaxae: ended by SIGABRT: what the libraries said before is in {log}\n")
    assert "a library's last words" in log.read_text()
    log.unlink()
    assert (code, error) == (1, LOST_LINE.format(0))


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--coordinator=a:1"], "--process-id, --num-processes: missing: a process is placed by --coordinator, "
                                "--process-id, --num-processes together"),
        (["--process-id=0", "--num-processes=2"], "--coordinator: missing: a process is placed by --coordinator, "
                                                  "--process-id, --num-processes together"),
        (["--coordinator=a", "--process-id=0", "--num-processes=2"], "--coordinator 'a': expected HOST:PORT"),
        (["--coordinator=a:x", "--process-id=0", "--num-processes=2"], "--coordinator 'a:x': expected HOST:PORT"),
        (["--coordinator=a:70000", "--process-id=0", "--num-processes=2"],
         "--coordinator 'a:70000': expected HOST:PORT"),
        (["--coordinator=a:1", "--process-id=2", "--num-processes=2"],
         "--process-id 2: expected 0 to 1, for there are 2 processes"),
        (["--coordinator=a:1", "--process-id=0", "--num-processes=0"], "--num-processes 0: expected at least 1"),
        (["--distributed", "--process-id=0"], "--distributed asks the launcher, --process-id does not: give one or "
                                              "the other"),
        (["--peer-timeout=1"], "--peer-timeout 1: expected at least 5 seconds"),
        (["--join-timeout=0"], "--join-timeout 0: expected at least 1 second"),
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_is_one_line(flags, line):
    @click.command()
    @host_options
    def command(hosts):
        raise AssertionError(hosts)

    result = CliRunner().invoke(command, flags)
    assert isinstance(result.exception, InputError) and str(result.exception) == line


def test_a_process_alone_meets_nobody(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"):
        monkeypatch.setenv(name, "1")  # a launcher that was not asked for
    join(Hosts())
    join(Hosts("a:1", 0, 1))
    hosts.barrier("alone")
    tree = {"x": np.ones(3)}
    assert hosts.same(tree) is tree and (hosts.count(), hosts.leads()) == (1, True)
    assert hosts.agree(np.array([1, 2])).tolist() == [[1, 2]]
    assert hosts.first(lambda: 5) == 5
    assert Hosts("[::1]:80", 0, 2).address() == ("::1", 80)


ABORT = "Terminating process because the JAX distributed service detected fatal errors."
JOINED = "jaxae-child: started\n\njaxae-child: joined 1 2\n"


@pytest.mark.parametrize(
    ("code", "noise", "end"),
    [
        (0, JOINED, End(0)),
        (143, JOINED, End(143)),
        (-signal.SIGABRT, f"{JOINED}jaxae-child: leaving 143\n{ABORT}", End(143)),
        (-signal.SIGABRT, f"{JOINED}{ABORT}", End(1, LOST_LINE.format(1).rstrip())),
        (LOST, JOINED, End(1, LOST_LINE.format(1).rstrip())),
        (-signal.SIGTERM, JOINED, End(143)),
        (1, "ImportError: no jax", End(1, "ImportError: no jax")),
    ],
)
def test_what_the_end_of_a_child_means(code, noise, end):
    assert verdict(code, noise, Hosts("a:1", 1, 2), Path("log")) == end


@pytest.mark.parametrize("kind", [ValueError, jax.errors.JaxRuntimeError])
def test_a_lost_process_is_known_by_either_kind_of_error(kind):
    """jaxlib raises the one where it waits for a value, the other where it sends one."""
    assert is_loss(kind("UNKNOWN: Gloo all-reduce failed: [x] Connection reset by peer"))
    assert not is_loss(kind("operands could not be broadcast together")) and not is_loss(KeyError("Gloo"))
