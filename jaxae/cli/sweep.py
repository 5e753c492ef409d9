"""`jaxae sweep`: `jaxae train` for every combination of seeds and grid values."""

import re
import shlex
from typing import Any

import click

from jaxae.cli.train import TrainCommand, check_scale, config_options, make_config
from jaxae.errors import Diverged, InputError


@click.command(cls=TrainCommand, short_help="many seeds and settings as one program")
@click.option("--run", "run_dir", metavar="DIR", required=True, help="the sweep's folder")
@click.option("--seeds", default=None, help="0:64 (0 to 63), or 1,5,9 [--seed alone]")
@click.option(
    "--grid",
    multiple=True,
    metavar="NAME=V,V",
    help="an axis and its values: beta=1,4, or 'levels=8,5;7,5' where they hold commas; once for each axis",
)
@click.option(
    "--setting",
    multiple=True,
    metavar="NAME=V,NAME=V",
    help="values that go together, such as method=factor_vae,gamma=10; once for each setting, beside the grid",
)
@click.option("--shared-batches", is_flag=True, help="every member reads the data in the same order")
@click.option("--lanes", default="auto", help="map: one member after the other; vmap: side by side; auto [auto]")
@click.option("--block", type=int, default=None, help="members that vmap takes side by side [at most 8 on a CPU; "
              "elsewhere 64, or what fits in its memory]")  # fmt: skip
@click.option("--wave", type=int, default=None, help="members trained at once [as many as fit in memory]")
@click.option("--mesh", default=None, metavar="seed=S,data=D", help="devices that share members, and each batch "
              "[all of --devices share members]")  # fmt: skip
@click.option("--quiet", is_flag=True, help="say nothing but the result")
@click.option("--no-report", is_flag=True, help="write no report.html")
@config_options
def sweep(
    run_dir: str, seeds: str | None, grid: tuple[str, ...], setting: tuple[str, ...], shared_batches: bool, lanes: str,
    block: int | None, wave: int | None, mesh: str | None, quiet: bool, no_report: bool, **values: Any,
) -> None:  # fmt: skip
    """Train every combination of seeds, settings and grid in DIR, or go on there; measure each; write the report.

    Real-valued axes (the learning rate, a method's own weights) run together with the seeds in one compiled program;
    others (latent, network, method) make a group each. Every member is then a run: `jaxae evaluate DIR --member
    seed=3,beta=4`. With --exact, or by --lanes map (auto on a CPU; elsewhere auto is vmap), a member has the bits of
    the same run alone. Here --devices share the members; --mesh says otherwise.
    """
    if not run_dir:
        raise InputError("--run '': expected a folder")
    from jaxae import axes
    from jaxae import plan as plans

    seed_devices, data_devices = _mesh(mesh, values.pop("devices"))
    how = plans.How(lanes, block, seed_devices, wave)
    base = make_config({**values, "devices": data_devices})
    how.check(base)
    chosen = (base.seed,) if seeds is None else axes.seeds(seeds)
    settings = axes.settings(setting)
    plan = plans.Plan(base, chosen, axes.grid(grid, base, settings), shared_batches, settings)
    scale = values["scale"] if "scale" not in plan.axes else plan.axes["scale"][0]
    check_scale(scale, (member.config for member in plan.members))
    from jaxae import parallel
    from jaxae.progress import Progress
    from jaxae.sweep import sweep as carry_out

    parallel.virtual(seed_devices * data_devices)
    progress = Progress(quiet)
    if len({member.config.data for member in plan.members}) > 1:
        told = "data differs among members, whose measures do not compare: there will be no report"
        progress.warn(told if base.evaluate == "none" else f"{told}; of one there is: `{_of_one(plan, run_dir)}`")
    swept = carry_out(plan, run_dir, how, progress)
    finish(swept, progress, not no_report)


IN_A_SWEEP = {
    "devices": "devices that share the members [1]",
    "keep": "latest checkpoints kept of the members in training; each keeps its last, and with --patience its best [2]",
    "seed": "the one member's, without --seeds; of the order, with --shared-batches [0]",
}
"""What flags of `train` mean here; those without a meaning are refused, and not shown."""
for option in sweep.params:
    if isinstance(option, click.Option) and option.name:
        option.help = IN_A_SWEEP.get(option.name, option.help)
        option.hidden = option.name in ("parallel", "wandb")


def _of_one(plan: Any, run_dir: str) -> str:
    """The command that compares the members of the first data set."""
    split = plan.base.evaluate
    words = ["jaxae", "compare", run_dir, "--where", f"data={plan.members[0].config.result()['data']}"]
    return shlex.join([*words, *(["--split", split] if split != "test" else []), "--out", "page.html"])


def _mesh(text: str | None, devices: int | None) -> tuple[int, int]:
    """(devices that share members, devices that share each batch)"""
    if devices is not None and devices < 1:
        raise InputError(f"devices {devices}: expected at least 1")
    if text is None:
        return (1 if devices is None else devices), 1
    match = re.fullmatch(r"\s*seed=(\d+)\s*,\s*data=(\d+)\s*", text)
    if not match or 0 in map(int, match.groups()):
        raise InputError(f"mesh {text!r}: expected seed=S,data=D with numbers of devices, such as seed=4,data=2")
    found = int(match[1]), int(match[2])
    if devices is not None and devices != found[0] * found[1]:
        raise InputError(f"mesh {text!r} has {found[0] * found[1]} devices, --devices says {devices}")
    return found


def finish(swept: Any, progress: Any, report: bool) -> None:
    """The table, the page, and what to see on standard output. Raises Diverged where no member is left to measure."""
    from jaxae import compare, files
    from jaxae.cli.compare import show
    from jaxae.report import write_comparison

    files.write(swept.folder.table, swept.table.to_csv(index=False).encode())
    counts = swept.table["outcome"].value_counts()
    click.echo(f"{'members':<20}" + ", ".join(f"{count} {name}" for name, count in counts.items()))
    click.echo(f"{'table':<20}{swept.folder.table}")
    if (swept.table["outcome"] == "diverged").all():
        raise Diverged(f"all {len(swept.table)} members diverged: try a lower learning rate, or clip_norm")
    if swept.plan.base.evaluate == "none":
        return
    try:
        found = compare.compare(swept.table)
    except InputError as refused:
        progress.warn(f"no comparison and no report: {refused}")
        return
    if len(found.settings) > 1:
        show(found)
    if report:
        progress.say("writing the report")
        write_comparison([swept.folder.path], swept.folder.report, split=swept.table.attrs["split"])
        click.echo(f"{'report':<20}{swept.folder.report}")
