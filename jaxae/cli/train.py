"""`jaxae train`: a flag for every field of Config, and one for every hyperparameter of the chosen method."""

import copy
import dataclasses
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from jaxae import methods, schedules
from jaxae.cli import supervise
from jaxae.cli.hosts import host_options
from jaxae.config import Config, about
from jaxae.errors import InputError
from jaxae.join import Hosts
from jaxae.names import LIKELIHOODS


class TrainCommand(click.Command):
    """Adds the chosen method's own flags before parsing, and shows what it and the network take by default."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        name = ctx.meta.get("jaxae.method", "vae")
        defaults = Config(method=name, network=ctx.meta.get("jaxae.network")).resolved()
        taken = {name for option in self.params for name in (option.name, *option.opts)}
        for h in methods.entry(name).hyperparameters:
            if taken & {h.name, f"--{h.name.replace('_', '-')}"}:
                raise InputError(f"hyperparameter {h.name} of {name}: this command has a flag of that name: rename it")
        own = [
            click.Option([f"--{h.name.replace('_', '-')}", h.name], type=str, default=None, help=_own_help(h))
            for h in methods.entry(name).hyperparameters
        ]
        shown = [_with_default(option, defaults) for option in self.params]
        return [*shown, *own, *filter(None, [self.get_help_option(ctx)])]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for place, word in enumerate(args):
            flag, equals, value = word.partition("=")
            if flag in ("--method", "--network") and (equals or place + 1 < len(args)):
                ctx.meta[f"jaxae.{flag[2:]}"] = value if equals else args[place + 1]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        of_field = {f.name: f.metadata["section"] for f in dataclasses.fields(Config)}
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row:
                own = f"hyperparameters of {ctx.meta.get('jaxae.method', 'vae')}"
                title = of_field.get(param.name or "", "options" if param in self.params else own)
                sections.setdefault(title, []).append(row)
        sections["where a number or a schedule is taken"] = schedules.grammar()
        for title, rows in sections.items():
            with formatter.section(title.capitalize()):
                formatter.write_dl(rows)


def _with_default(option: click.Parameter, defaults: Config) -> click.Parameter:
    """The option, with what it is for the method and the network unless given."""
    value, said = getattr(defaults, option.name or "", None), getattr(option, "help", None)
    if value is None or value is False or not said or "[" in said:
        return option
    shown = copy.copy(option)
    shown.help = f"{said} [{value}]"
    return shown


def _own_help(spec: methods.Hyperparameter) -> str:
    kind = " (a number or a schedule)" if spec.scheduled else ""
    return f"{spec.help}{kind} [{spec.default}]"


def config_options(command: Callable) -> Callable:
    """A flag for every field of Config, with its help and choices."""
    for spec in reversed(dataclasses.fields(Config)):
        if spec.name == "hyperparameters":
            continue
        flag = f"--{spec.name.replace('_', '-')}"
        kind: dict[str, Any] = {"is_flag": True} if spec.type is bool else {"type": _kind(spec)}
        command = click.option(flag, spec.name, default=None, help=about(spec), **kind)(command)
    return command


def _kind(spec: dataclasses.Field) -> Any:
    """Choices, durations and schedules are text that Config itself checks, with the nearest right name."""
    if spec.metadata.get("duration") or spec.metadata.get("schedule"):
        return str
    kinds = typing.get_args(spec.type) or (spec.type,)
    return int if int in kinds else float if float in kinds else str


def make_config(values: dict[str, Any]) -> Config:
    """The Config of the flags that were given."""
    given = {name: value for name, value in values.items() if value is not None}
    known = {f.name for f in dataclasses.fields(Config)}
    hyperparameters = {name: given.pop(name) for name in list(given) if name not in known}
    config = Config(**given, hyperparameters=hyperparameters)
    config.allow_own()
    return config


def check_scale(scale: float | None, configs: Iterable[Config]) -> None:
    """Raises InputError for a --scale that none of the runs takes."""
    if scale is not None and not any(config.takes_scale() for config in configs):
        others = ", ".join(name for name in LIKELIHOODS if name != "bernoulli")
        raise InputError(f"scale {scale}: bernoulli has none: leave it out, or choose a --likelihood of {others}")


@click.command(cls=TrainCommand, short_help="train or resume, evaluate, report")
@click.option("--run", "run_dir", metavar="DIR", help="the run's folder [runs/DATA-METHOD-HASH]")
@click.option("--quiet", is_flag=True, help="say nothing but the result")
@click.option("--no-report", is_flag=True, help="write no report.html")
@host_options
@config_options
def train(run_dir: str | None, quiet: bool, no_report: bool, hosts: Hosts, **values: Any) -> None:
    """Train an autoencoder, or resume the run in DIR; then evaluate it and write its report.

    Durations are steps (500), epochs (20e) or per cent of the run (5%). Schedules are listed at the end.
    """
    config = make_config(values)
    check_scale(values["scale"], [config])
    if run_dir is not None and not run_dir:
        raise InputError("--run '': expected a folder")
    supervise.enter(hosts)
    from jaxae import parallel, run
    from jaxae.hosts import leads
    from jaxae.progress import Progress

    if not hosts.several():
        parallel.virtual(config.devices)
    progress = Progress(quiet or not leads())
    trained = run.train(config, Path(run_dir) if run_dir else None, progress=progress)
    if leads():
        finish(trained, progress, not no_report)


def finish(trained: Any, progress: Any, report: bool) -> None:
    """Measures the run, writes its report, and prints what there is to know."""
    from jaxae import run

    samples, split = trained.setup.config.samples, trained.setup.config.evaluate
    measures = None if split == "none" else run.measured(trained, samples, split)
    if measures is None and split != "none":
        progress.say(f"evaluating on the {split} split")
        settings = run.Settings(samples)
        (measures,) = run.evaluate_runs([trained], split=split, settings=settings, progress=progress)
        measures = run.store(trained, measures)
    if report:
        from jaxae.report import write_report

        progress.say("writing the report")
        write_report(trained, measures)
    print_result(trained, measures or {}, report)


def print_result(trained: Any, measures: dict[str, Any], report: bool) -> None:
    """The end of a run, on standard output."""
    from jaxae import run

    ended = trained.folder.outcome() or {}
    made = f"{ended.get('step', trained.step):,}"
    if ended.get("step", trained.step) != trained.step:
        made += f", {ended['outcome']}; what follows is of the best on validation, step {trained.step:,}"
    rows = [("steps", f"{made} ({trained.setup.source.name}, {trained.setup.entry.name})")]

    split = trained.setup.config.evaluate

    def number(name: str, places: int = 3) -> str:
        return "not finite" if measures[name] is None else f"{measures[name]:.{places}f}"

    if "samples" in measures:  # it has a density
        nll = f"{number('nll')} ± {number('nll_mc_se')} (Monte Carlo, {measures['samples']} importance samples)"
        if measures["examples"] > 1:
            nll += f" ± {number('nll_data_se')} ({split} examples)"
        terms = f"(reconstruction {number('reconstruction')}, KL {number('kl')})"
        rows += [(f"{split} ELBO", f"{number('elbo')} nats an example {terms}"), (f"{split} NLL", nll)]
    elif "reconstruction" in measures:
        rows.append((f"{split} reconstruction", f"{number('reconstruction')} nats an example"))
    if measures:
        rows.append((f"{split} MSE", f"{number('mse', 5)} a dimension"))
    rows.append(("checkpoint", str(trained.folder.checkpoints / str(trained.step))))
    if report:
        rows.append(("report", str(trained.folder.report)))
    rows.append(("digest", run.final_digest(trained)))
    width = max(20, *(len(name) + 2 for name, _ in rows))
    for name, text in rows:
        click.echo(f"{name:<{width}}{text}")
    for note in measures.get("notes", {}).get("likelihood", []):
        click.echo(f"note: {note}", err=True)
