"""A wave: members trained side by side, from a state on disk that they share to folders of their own."""

import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial

import jax

from jaxae import files, log
from jaxae import record as records
from jaxae.checkpoint import Checkpoints
from jaxae.folder import RunFolder, SweepFolder
from jaxae.lane import Lane, Watch, stacked
from jaxae.log import OnMemberRow, OnRow, Rows
from jaxae.loop import Loop
from jaxae.names import SPLITS
from jaxae.parallel import Layout
from jaxae.plan import Member
from jaxae.programs import Programs
from jaxae.progress import Bar, Progress
from jaxae.run import check_data
from jaxae.setup import Setup
from jaxae.start import Start
from jaxae.types import TrainState

WRITERS = 4  # members' checkpoints written at once


class Wave:
    """`setup` is any member's: what they do not share is in their configs, and in `starts` by their names."""

    def __init__(
        self,
        folder: SweepFolder,
        setup: Setup,
        members: Sequence[Member],
        starts: Mapping[str, Start],
        progress: Progress,
        on_row: OnMemberRow | None,
    ):
        self.folder, self.members, self.progress, self.on_row = folder, members, progress, on_row
        self.setups = [setup.like(member.config, starts.get(member.name)) for member in members]
        self.runs = [folder.member(member.name) for member in members]
        self.source = setup.source

    def train(
        self, layout: Layout, programs: Programs, size: int, bar: Bar, done: int, what: str, asked: list[int]
    ) -> None:
        """To the end, `size` lanes wide; `done` steps lie behind the sweep. Raises Interrupted, with all saved."""
        keep = self.setups[0].config.keep
        where, aside = self.folder.wave_checkpoints, self.folder.damaged  # which outlives the wave
        with Checkpoints(where, keep_latest=keep, warn=self.progress.warn, aside=aside) as checkpoints:
            state, step, watches = self.begin(checkpoints)
            self.write_configs(step)
            lanes = [
                Lane(setup, watch, Rows(run.metrics_file, step, self.told(of)), of.name, partial(self.save, run))
                for setup, watch, run, of in zip(self.setups, watches, self.runs, self.members)
            ]
            bar.begin(what, done + step * len(lanes), step)
            loop = Loop(lanes, layout, programs, state, step, checkpoints, self.progress, bar, asked, size)
            del state  # the loop has placed it
            with contextlib.closing(loop):
                loop.run()
            self.hand_out(loop.host_state(), [lane.watch for lane in lanes], loop.step)
        self.folder.end_wave()

    def told(self, member: Member) -> OnRow | None:
        return None if self.on_row is None else partial(self.on_row, member.name)

    def write_configs(self, step: int) -> None:
        for run, setup, member in zip(self.runs, self.setups, self.members):
            if run.outcome_file.is_file():
                continue  # handed out before: what has become of it since is its own
            run.path.mkdir(parents=True, exist_ok=True)
            run.write(member.config, records.made(member.config, run.path, setup), step)

    def begin(self, checkpoints: Checkpoints) -> tuple[TrainState, int, list[Watch]]:
        """The newest whole checkpoint's state, or the members' initial ones, stacked."""
        one = self.setups[0].shapes()
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct((len(self.members), *x.shape), x.dtype), one)
        found = checkpoints.restore(like, on_host=True)  # whole it may be too much for one device
        if found is None:
            watches = [Watch(total=setup.total) for setup in self.setups]
            return stacked(jax.device_get([setup.init() for setup in self.setups])), 0, watches
        check_data(self.setups[0], found)
        self.progress.say(f"resuming a wave of {len(self.members)} at step {found.step:,}")
        return found.state, found.step, [Watch(**kept) for kept in found.meta["watch"]]

    def save(self, run: RunFolder, state: TrainState, watch: Watch, loss: float | None = None) -> None:
        """In a member's own folder. A step that is there as the best stays the best."""
        step = int(state.step)
        with Checkpoints(run.checkpoints, keep_latest=1, warn=self.progress.warn, prove=False) as checkpoints:
            if loss is None and step == checkpoints.best_step():
                loss = watch.best
            checkpoints.save(step, state, {"watch": [asdict(watch)], "data": self.source.digest}, loss)

    def hand_out(self, states: TrainState, watches: Sequence[Watch], step: int) -> None:
        """Gives every member its own folder, as a run alone leaves it; last of all, how it ended."""

        def give(number: int) -> None:
            run, watch = self.runs[number], watches[number]
            if run.outcome_file.is_file():
                return
            outcome = watch.outcome or {"outcome": "finished", "step": step}
            if outcome["outcome"] != "diverged":
                self.save(run, jax.tree.map(lambda x: x[number], states), watch)
            log.to_tensorboard(run.metrics_file, run.events)
            for split in SPLITS:
                run.evaluation_file(split).unlink(missing_ok=True)  # of an earlier step: somebody looked on
            files.write_json(run.outcome_file, outcome)

        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(give, range(len(self.members))))
