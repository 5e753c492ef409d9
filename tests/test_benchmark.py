"""The benchmark's own arithmetic: what it counts, what it compares, what it calls behind. No peer is imported."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.benchmark import arguments
from experiments.benchmark_parts import figures, pages, rows
from experiments.benchmark_parts.cases import CASES, Case, Program, chosen
from experiments.benchmark_parts.rounds import measure, row_of
from experiments.benchmark_parts.shop import Shop, Stays
from experiments.benchmark_parts.works import TRAINING, Layer
from experiments.benchmark_peers import protocol
from experiments.benchmark_peers.protocol import Meter, Task, Turns
from jaxae import Config

MLP = Case("mlp-128", "mlp-128", "pythae", "", Program("ours", "mlp-128", "loop"), Program("theirs", "mlp-128", "x"))
CURVES = {"loss": [200.0, 150.0]}


def row(work="mlp-128", peer="pythae", ratio=2.0, agrees=True, **values):
    agreement = {"agrees": agrees, "difference": 0.01 if agrees else 0.2}
    usual = {"about": "a work", "command": "cmd", "commit": "c", "rounds": 3, "range": [ratio - 0.1, ratio + 0.1]}
    return rows.row(work=work, peer=peer, ratio=ratio, agreement=agreement, **{**usual, **values})


def test_operations_by_hand():
    forward = 784 * 500 + 500 * 40 + 20 * 500 + 500 * 784
    assert TRAINING["mlp-128"].flops == 2 * (3 * forward - 784 * 500)  # no gradient of the images
    there, back = 784 * 200 + 200 * 200 + 200 * 100, 50 * 200 + 200 * 200 + 200 * 784
    assert TRAINING["iwae"].flops == 2 * (3 * (there + 50 * back) - 784 * 200)
    assert Layer("conv", 1, 32, 4, 14, 28).macs == 14 * 14 * 4 * 4 * 32
    assert Layer("up", 64, 32, 4, 7, 4).macs == 4 * 4 * 4 * 4 * 64 * 32  # once on every place of the input


def test_what_is_asked_for_twice_is_both():
    args = arguments().parse_args(["--peer", "torch", "--peer", "numpyro", "flax", "--work", "mlp-20"])
    assert (args.work, args.peer) == (["mlp-20"], ["torch", "numpyro", "flax"])
    assert (arguments().parse_args([]).work, arguments().parse_args([]).peer) == (None, None)


def test_rounds_alternate_and_the_ratio_is_the_median_of_theirs():
    order = []

    def rate(program, seed):
        order.append((program.module, seed))
        return {"rate": {"ours": 30.0, "theirs": 10.0}[program.module] * (1 + seed), "curves": CURVES, "peak_mb": 100.0}

    ours, theirs = measure(MLP, 3, rate)
    assert order == [("ours", 0), ("theirs", 0), ("theirs", 1), ("ours", 1), ("ours", 2), ("theirs", 2)]
    made = row_of(MLP, ours, theirs, matmul=600.0 * TRAINING["mlp-128"].flops, command="cmd", commit="c")
    assert (made["ratio"], made["range"], made["memory"]) == (3.0, [3.0, 3.0], 1.0)
    assert made["share_of_matmul"] == pytest.approx(60 / 600)  # at the median rate, of the second round
    assert made["agreement"]["agrees"]
    assert made["agreement"]["difference"] == 0


def test_ratios_are_of_rounds_not_of_medians():
    assert figures.ratios([1, 2, 30], [1, 4, 10]) == (1.0, 0.5, 3.0)


@pytest.mark.parametrize(
    ("theirs", "agrees"), [([202.0, 149.0], True), ([200.0, 160.0], False), ([200.0, np.nan], False), ([], False)]
)
def test_losses_agree_within_the_tolerance_in_every_window(theirs, agrees):
    assert figures.agreement([CURVES], [{"loss": theirs}]).agrees == agrees


def test_losses_of_other_names_agree_in_nothing():
    assert not figures.agreement([CURVES], [{"minus_elbo": [200.0]}]).agrees


def test_the_fastest_peer_is_the_one_of_least_ratio_that_computes_the_same():
    kept = [row(peer="a", ratio=3.0), row(peer="b", ratio=1.2), row(peer="c", ratio=0.5, agrees=False),
            row(peer="matmul", ratio=0.4), row(work="conv", peer="a", ratio=9.0)]  # fmt: skip
    found = {one["work"]: one for one in rows.with_fastest(kept) if one["peer"] == rows.FASTEST}
    assert (found["mlp-128"]["which"], found["mlp-128"]["ratio"], found["mlp-128"]["target"]) == ("b", 1.2, 1.0)
    assert found["conv"]["which"] == "a"
    again = rows.with_fastest(rows.with_fastest(kept))
    assert again == rows.with_fastest(kept)


@pytest.mark.parametrize(
    ("values", "behind"),
    [
        ({"ratio": 0.9}, True), ({"ratio": 1.1}, False), ({"ratio": 1.1, "target": 1.5}, True),
        ({"ratio": 0.9, "peer": "scan"}, False), ({"ratio": 0.9, "peer": "scan", "target": 0.97}, True),
        ({"ratio": 0.4, "unit": "s", "target": 0.5}, False), ({"ratio": 0.6, "unit": "s", "target": 0.5}, True),
    ],
)  # fmt: skip
def test_behind(values, behind):
    assert rows.behind(row(**values)) == behind
    assert ("**" in pages.ratio(row(**values))) == behind


def test_a_row_takes_the_place_of_its_like(tmp_path):
    file = tmp_path / "rows.json"
    for ratio in (1.0, 2.0):
        rows.add(row(ratio=ratio), "a machine", file)
    rows.add(row(peer="torch", ratio=3.0), "a machine", file)
    kept = json.loads(file.read_text())
    assert [(one["peer"], one["ratio"]) for one in kept["rows"]] == [("pythae", 2.0), ("torch", 3.0), ("fastest", 2.0)]
    pages.write(file)
    assert "| `mlp-128` | torch | 3 (2.9 to 3.1) |" in (tmp_path / "rows.md").read_text()
    drawn = (tmp_path / "rows.svg").read_bytes()
    pages.write(file)
    assert (tmp_path / "rows.svg").read_bytes() == drawn


def test_rows_are_shown_as_the_cases_are_and_the_fastest_peer_last():
    kept = [row(work="conv", peer="torch"), row(peer="fastest"), row(peer="torch"), row(peer="pythae")]
    shown = [(one["work"], one["peer"]) for one in pages.in_order(kept)]
    assert shown == [("mlp-128", "pythae"), ("mlp-128", "torch"), ("mlp-128", "fastest"), ("conv", "torch")]


def test_every_case_has_a_page_and_a_name_of_its_own():
    names = [(case.work, case.peer) for case in CASES]
    assert len(set(names)) == len(names)
    assert {case.work for case in chosen(["nll"], None)} == {"nll"}
    assert {case.peer for case in chosen(["mlp-20"], ["torch"])} == {"torch"}


def test_the_meter_keeps_the_warm_up_apart_and_every_loss(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(protocol.time, "perf_counter", lambda: clock[0])
    meter, waited = Meter(batch=1024, seconds=10.0, wait=lambda state: waited.append(state)), []
    steps = 0
    while meter.more(steps):
        clock[0] += 30.0 if steps == 0 else 0.5  # the first step compiles
        meter.add(loss=float(steps))
        steps += 1
    found = meter.result()
    assert found["rate"] == 1024 / 0.5
    assert steps == 10 + 20  # nine after the first take 4.5 s, more than the share of 3 s; then 10 s
    assert found["curves"]["loss"] == [np.mean(range(n, n + 5)) for n in range(0, 30, 5)]  # 5,120 examples each
    assert len(waited) == 3


def test_a_program_that_takes_turns_is_timed_in_each_and_waits_between(tmp_path, monkeypatch):
    clock, asked = [0.0], []
    monkeypatch.setattr(protocol.time, "perf_counter", lambda: clock[0])

    def sleep(_):
        """Time goes by while others have their turn; nobody counts it."""
        clock[0] += 100.0
        (ready,) = {int(file.name.split("-")[1]) for file in tmp_path.glob("out.ready-*")} - set(asked)
        asked.append(ready)
        (tmp_path / f"out.go-{ready}").touch()

    monkeypatch.setattr(protocol.time, "sleep", sleep)
    meter, steps = Meter(batch=1024, seconds=10.0, turns=Turns(str(tmp_path / "out"), 3)), 0
    while meter.more():
        clock[0] += 0.5 if len(asked) < 2 else 0.25  # in the second turn and after it twice as fast
        meter.add(loss=float(steps))
        steps += 1
    assert asked == [0, 1, 2]
    assert meter.result()["rates"] == [1024 / 0.5, 1024 / 0.25, 1024 / 0.25]
    assert meter.result()["rate"] == 1024 / 0.5
    assert len(meter.result()["curves"]["loss"]) == steps // 5


def test_programs_take_turns_forth_and_back_and_one_that_fails_is_left_out(tmp_path, monkeypatch, capfd):
    """Real processes: three programs, of which one ends with an error before its turn."""
    code = """
import json, sys
from pathlib import Path
from experiments.benchmark_peers.protocol import Task, Turns
task = Task(**json.loads(Path(sys.argv[1]).read_text()))
if task.variant == "bad":
    sys.exit("no such peer")
turns, rates = Turns(task.out, task.turns), []
while not turns.over:
    turns.take()
    with Path("{order}").open("a") as file:
        file.write(task.variant)
    rates.append(float(turns.taken))
Path(task.out).write_text(json.dumps({{"rates": rates, "curves": {{}}}}))
"""
    (tmp_path / "program.py").write_text(code.format(order=tmp_path / "order"))
    shop = Shop(tmp_path, 1.0)
    plain = shop.task

    def task(program, seed, turns=1):
        words, out = plain(program, seed, turns)
        return [str(tmp_path / "program.py"), words[-1]], out

    monkeypatch.setattr(shop, "task", task)
    monkeypatch.setattr(shop, "run", lambda *args: None)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    programs = [Program("peer", "mlp-128", variant) for variant in ("a", "bad", "b")]
    found = shop.in_turns(programs, 3)
    assert (tmp_path / "order").read_text() == "abbaab"
    assert {program.variant: [one["rate"] for one in rounds] for program, rounds in found.items()} == {
        "a": [1, 2, 3], "b": [1, 2, 3],
    }  # fmt: skip
    assert "no such peer" in capfd.readouterr().err


def test_a_program_that_hangs_in_its_turn_is_not_there_in_anothers(tmp_path):
    shop = SimpleNamespace(task=lambda *_: (["-c", "import time; time.sleep(60)"], tmp_path / "out.json"))
    hanging = Stays(shop, Program("peer", "mlp-128", "a"), 2)
    hanging.patience = 0.2
    hanging.ready(0).touch()
    hanging.turn(0)
    assert hanging.process.wait(10) < 0
    assert hanging.result() == []


def test_a_gpus_page_has_its_own_plot_and_no_cpus_targets(tmp_path):
    (tmp_path / "gpu.json").write_text('{"note": "Others stood still.", "rows": []}')
    rows.add(row(target=None), "a GPU", tmp_path / "gpu.json", {})
    pages.write(tmp_path / "gpu.json")
    text = (tmp_path / "gpu.md").read_text()
    assert "![ratios](gpu.svg)" in text and (tmp_path / "gpu.svg").is_file()
    assert "at least" not in text and "Others stood still." in text


def test_the_readme_shows_the_repositorys_own_rows_alone(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    monkeypatch.setattr(pages, "README", tmp_path / "README.md")
    for name, shown in (("benchmark_gpu.json", False), ("benchmark.json", True)):
        pages.README.write_text(f"before\n{pages.START}\n{pages.END}\nafter\n")
        rows.add(row(target=1.5), "a machine", tmp_path / "experiments" / name)
        pages.write(tmp_path / "experiments" / name)
        assert ("| `mlp-128` | pythae | 2 (1.9 to 2.1) |" in pages.README.read_text()) == shown


def test_what_needs_an_accelerator_is_measured_where_it_is_asked_for():
    assert "mlp-1024-x64" not in {case.work for case in chosen(None, None)}
    assert {case.work for case in chosen(["lanes"], None)} == {"mlp-128-x64", "mlp-1024-x64"}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="not a Linux")
@pytest.mark.slow
def test_the_peak_memory_is_the_processes_own():
    command = [sys.executable, "-c", "from experiments.benchmark_peers.protocol import peak; print(peak()['peak_mb'])"]
    grown = np.ones(2**26)  # 512 MB, which the child would count as its own by its parent's resource usage
    child = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert child < 300 < protocol.peak()["peak_mb"]
    assert len(grown)


def test_the_parameters_that_all_start_from_are_jaxaes_own(tmp_path):
    from experiments.benchmark_peers.jaxae_setup import layers, setup_of, start, started

    images = tmp_path / "images.npy"
    np.save(images, np.zeros((600, 28, 28, 1), np.uint8))
    task = Task("iwae", "start", 1.0, 7, str(images), str(tmp_path / "start.npz"), "")
    start(task)
    work = task.training()
    kernels = [kernel.shape for kernel, _ in task.parameters()]
    assert kernels == [(layer.inputs, layer.outputs) for layer in work.encoder + work.decoder]
    setup = setup_of(task)
    state = started(task, setup)
    for (kernel, bias), (at, beside) in zip(task.parameters(), layers(state.variables.params)):
        for value, path in ((kernel, at), (bias, beside)):
            leaf = state.variables.params
            for name in path.split("/"):
                leaf = leaf[name]
            np.testing.assert_array_equal(np.ravel(leaf), np.ravel(value))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["map", "solo", "stall"])
def test_jaxaes_own_programs_of_whole_runs_work(variant, monkeypatch):
    from experiments.benchmark_peers import jaxae_whole as whole

    brief = {"width": 16, "steps": 40, "samples": 2, "checkpoint_every": 10, "log_every": 10}
    monkeypatch.setattr(whole, "MODELS", {"digits": Config(**brief)})
    task = Task("digits", variant, 1.0, 0, "", "", "", number=2)
    found = {"map": whole.lanes, "solo": whole.solo, "stall": whole.stall}[variant](task)
    assert 0 < found["share"] < 1 if variant == "stall" else found["rate"] > 0
