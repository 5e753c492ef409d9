"""What is told of the memory of devices and of the host."""

from pathlib import Path

import jax
import pytest

from jaxae import memory


def test_a_host_that_does_not_tell_its_free_memory_has_all_of_it(tmp_path, monkeypatch):
    """As macOS, which knows no SC_AVPHYS_PAGES and has no /proc."""

    def sysconf(name):
        if name == "SC_AVPHYS_PAGES":
            raise ValueError("unrecognized configuration name")
        return {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}[name]

    monkeypatch.setattr(memory, "GROUP", tmp_path)
    monkeypatch.setattr(memory, "Path", lambda name: tmp_path / "none")
    monkeypatch.setattr(memory.os, "sysconf", sysconf)
    assert memory.free() == 4_096_000


def test_the_memory_a_host_can_give_is_what_is_available_and_no_more_than_its_group_may_have(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    said = {line.split(":")[0]: int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()}
    assert memory.free() == pytest.approx(1024 * said["MemAvailable"], rel=0.2)
    for name, content in (("max", "5000000\n"), ("current", "2500000\n"), ("stat", "anon 9\ninactive_file 500000\n")):
        (tmp_path / f"memory.{name}").write_text(content)
    assert memory.free() == 3_000_000
    if jax.default_backend() == "cpu":
        assert memory.device() == 5_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free() > 3_000_000
