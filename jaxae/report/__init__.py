"""Pages that need no network and no server: `write_report(trained)` about one run, `write_comparison(paths, out)` about
many."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxae import files
from jaxae.errors import InputError
from jaxae.run import Trained, is_of_its_data


def write_report(trained: Trained, evaluation: Mapping[str, Any] | None = None, out: str | Path | None = None) -> Path:
    """Writes the run's report (to report.html in its folder) and returns its path.

    evaluation: what `evaluate_run` returned; by default what the folder holds of the test split, else of the validation
    split, if anything. Of a run `on` other images the folder holds none, and `out` says where the page goes: the run's
    own is not written over.
    The page is a function of the run alone: it holds no date, and written twice it is the same to the byte.
    """
    from jaxae.report.page import render

    if is_of_its_data(trained):
        evaluation = evaluation or trained.folder.evaluation() or trained.folder.evaluation("validation") or None
    elif out is None:
        raise InputError(f"a report of other images than those of {trained.folder.path}: say where it goes, out=")
    path = Path(out) if out else trained.folder.report
    files.write(path, render(trained, evaluation).encode())
    return path


def write_comparison(
    paths: Iterable[str | Path],
    out: str | Path,
    measure: str | None = None,
    baseline: str | None = None,
    level: float = 0.95,
    split: str = "test",
) -> Path:
    """Writes the page that compares the runs and sweeps in `paths`, as `jaxae.compare.compare` does, and returns `out`.

    The page is a function of the runs alone: it holds no date, and written twice it is the same to the byte.
    """
    from jaxae.report.comparison import render

    files.write(Path(out), render(paths, measure, baseline, level, split).encode())
    return Path(out)


__all__ = ["write_comparison", "write_report"]
