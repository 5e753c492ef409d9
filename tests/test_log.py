"""What a run writes down of its way: the event files here; metrics.jsonl is in test_run.py."""

import json
import resource
import subprocess
import sys
import types

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from jaxae import log


def events(folder):
    """Of all event files, in the order in which they were begun: each a length, its checksum, the event, its own."""
    found = []
    for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns):
        data, at = file.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            found.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += length + 16
    return found


def scalars(found):
    return [(e.step, {v.tag: v.simple_value for v in e.summary.value}) for e in found if e.summary.value]


def test_each_row_is_an_event_and_what_is_not_finite_is_left_out(tmp_path):
    of = log.Log(tmp_path / "metrics.jsonl", tmp_path / "tensorboard", 0, None, {})
    of.write(1, {"loss": 0.5, "kl": float("nan")})
    of.write(2, {"loss": 0.25, "kl": 2.0})
    assert scalars(events(tmp_path / "tensorboard"))[-1] == (2, {"loss": 0.25, "kl": 2.0}), "written at once"
    of.close()
    assert scalars(events(tmp_path / "tensorboard")) == [(1, {"loss": 0.5}), (2, {"loss": 0.25, "kl": 2.0})]
    assert [row["step"] for row in log.read(tmp_path / "metrics.jsonl")] == [1, 2]


def test_a_listener_hears_none_of_what_is_not_finite_from_a_run_and_a_sweep(tmp_path):
    heard = []
    alone = log.Log(tmp_path / "run.jsonl", tmp_path / "tensorboard", 0, None, {}, heard.append)
    alone.write(1, {"loss": float("nan")})
    alone.close()
    log.Rows(tmp_path / "member.jsonl", 0, heard.append).write(1, {"loss": float("inf")})
    assert heard == 2 * [{"step": 1, "loss": None}]
    assert log.read(tmp_path / "run.jsonl") == log.read(tmp_path / "member.jsonl") == [{"step": 1, "loss": None}]


@pytest.mark.parametrize("step", [0, 5])
def test_what_lies_behind_a_run_that_goes_on_is_hidden_by_its_start(tmp_path, step):
    """Two files, though both begin within a second."""
    for begun in (0, step):
        of = log.Log(tmp_path / "metrics.jsonl", tmp_path / "tensorboard", begun, None, {})
        of.write(begun + 1, {"loss": 1.0})
        of.close()
    starts = [e.step for e in events(tmp_path / "tensorboard") if e.session_log.status == SessionLog.START]
    assert starts == ([1, 6] if step else [1])


def test_a_full_disk_is_an_error_and_no_wait_for_ever(tmp_path):
    """Files that may not grow stand for it: the rows are there already, the events find no room."""
    rows = [json.dumps({"step": n, "loss": 1.0, "kl": 2.0}) for n in range(2000)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    code = f"""
import pathlib, resource
from jaxae import log
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.RLIM_INFINITY}))
folder = pathlib.Path({str(tmp_path)!r})
try:
    log.to_tensorboard(folder / "metrics.jsonl", folder / "tensorboard")
except OSError as error:
    print("told:", error.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("told: File too large\n", "")


def test_rows_go_to_wandb_under_a_name_of_the_folder_alone(tmp_path, monkeypatch):
    """As a module of that name has it: two folders of one name are two runs there, and one that goes on is one."""
    said = []

    class Run:
        def log(self, row, step):
            said.append((step, row))

        def finish(self):
            said.append("finished")

    fake = types.SimpleNamespace(init=lambda **of: said.append(of) or Run())
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for place, step in (("a", 0), ("b", 0), ("a", 1)):
        folder = tmp_path / place / "run"
        folder.mkdir(parents=True, exist_ok=True)
        of = log.Log(folder / "metrics.jsonl", folder / "tensorboard", step, "project", {"latent": 2})
        of.write(step + 1, {"loss": 0.5})
        of.close()
    begun = [entry for entry in said if isinstance(entry, dict)]
    assert said[1:3] == [(1, {"loss": 0.5}), "finished"]
    assert {(of["project"], of["name"], of["resume"]) for of in begun} == {("project", "run", "allow")}
    assert begun[0]["config"] == {"latent": 2} and begun[0]["dir"] == str(tmp_path / "a" / "run")
    assert begun[0]["id"] == begun[2]["id"] != begun[1]["id"]


def test_a_row_of_anything_but_numbers_is_damaged_and_passed_over(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text(
        '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": {}}\n{"step": 3, "loss": "2"}\n{"step": 4, "loss": null}\n'
    )
    assert [row["step"] for row in log.read(file)] == [1, 4]
