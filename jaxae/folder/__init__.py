"""The folders of a run and of a sweep, and who may write in them.

A run's: config.json, record.json, metrics.jsonl, tensorboard/, checkpoints/, outcome.json (how it ended),
evaluation.json, report.html; code/, where it was made with files of the user's own; samplers/ once something was fitted
to its codes. A sweep's: sweep.json, members/NAME/ (each a run's own), code/, wave/ (while one is trained), table.csv,
report.html.
"""

from jaxae.folder.lock import locked, one_at_a_time
from jaxae.folder.run import RunFolder, splits_of
from jaxae.folder.sweep import SweepFolder, member_path

__all__ = ["RunFolder", "SweepFolder", "locked", "member_path", "one_at_a_time", "splits_of"]
