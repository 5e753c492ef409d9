"""Pages that need no network and no server: `write_report(trained)` about one run, `write_comparison(paths, out)` about
many."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxae import files
from jaxae.errors import InputError
from jaxae.folder import splits_of
from jaxae.run import Trained, final_digest, is_of_its_data
from jaxae.values import said


def write_report(trained: Trained, evaluation: Mapping[str, Any] | None = None, out: str | Path | None = None) -> Path:
    """Writes the run's report (to report.html in its folder) and returns its path.

    evaluation: what `evaluate_run` returned; by default what the folder holds, of the split that closes the run, else
    of another, if anything. Of a run `on` other images the folder holds none, and `out` says where the page goes: the
    run's own is not written over.
    The page is a function of the run alone: it holds no date, and written twice it is the same to the byte.
    """
    from jaxae.report.page import render

    if not isinstance(evaluation, Mapping | None):
        raise InputError(f"evaluation {said(evaluation)}: expected what evaluate_run gives; where it goes is out=")
    if is_of_its_data(trained):
        evaluation = evaluation or shown_by(trained)
    elif out is None:
        raise InputError(f"a report of other images than those of {trained.folder.path}: say where it goes, out=")
    if out is None:
        trained.folder.check_there()
    path = Path(out) if out else trained.folder.report
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, render(trained, evaluation).encode())
    return path


def shown_by(trained: Trained) -> dict[str, Any] | None:
    """What its page shows of what the folder holds: of a run also what was measured of another step of it, which the
    page says."""
    there = [trained.folder.evaluation(split) for split in splits_of(trained.setup.config)]
    if not trained.folder.config_file.is_file():  # of what a loop of one's own has trained
        there = [of for of in there if of.get("digest") == final_digest(trained)]
    return next(filter(None, there), None)


def write_comparison(
    paths: str | Path | Iterable[str | Path],
    out: str | Path,
    measure: str | None = None,
    baseline: str | None = None,
    level: float = 0.95,
    split: str = "test",
    where: Mapping[str, Any] = {},
) -> Path:
    """Writes the page that compares the runs and sweeps in `paths`, as `jaxae.compare.compare` does, and returns `out`.
    `where`: only those of these settings, as `jaxae.compare.table` takes them.

    The page is a function of the runs alone: it holds no date, and written twice it is the same to the byte.
    """
    from jaxae.report.comparison import render

    each = [paths] if isinstance(paths, str | Path) else list(paths)
    page = render(each, measure, baseline, level, split, where)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    files.write(Path(out), page.encode())
    return Path(out)


__all__ = ["write_comparison", "write_report"]
