"""What is measured: each case is one row, of two programs of `experiments.benchmark_peers` or of one."""

from typing import NamedTuple

from experiments.benchmark_parts.works import TRAINING


class Program(NamedTuple):
    """A variant of a module in `benchmark_peers`, at some work."""

    module: str
    work: str
    variant: str
    number: int = 0


class Case(NamedTuple):
    group: str
    """What --work names, beside the work itself."""
    work: str
    peer: str
    about: str
    ours: Program
    theirs: Program | None
    """None: a number of ours alone, of the `unit`."""
    target: float | None = None
    unit: str | None = None


PEERS = {
    "pythae": ("with_pythae", "train"),
    "torch": ("with_torch", "eager"),
    "torch-compile": ("with_torch", "compile"),
    "numpyro": ("with_numpyro", "train"),
    "flax": ("with_flax", "plain"),
    "flax-jit": ("with_flax", "jit"),
}
TARGETS = {
    ("mlp-20", "pythae"): 4.0, ("mlp-128", "pythae"): 1.5, ("mlp-1024", "pythae"): 1.5, ("iwae", "pythae"): 2.0,
    ("conv", "lax-conv"): 5.0, ("mlp-128", "matmul"): 0.70, ("mlp-1024", "matmul"): 0.80,
}  # fmt: skip
NLL_SAMPLES = 5000
LANES = 64
ACCELERATED = "lanes"  # the group that only an accelerator has the room for: measured where it is asked for by name
MEMBERS = (1, 4, 16, 64)
STEP = 1 / 1.03  # of the bare scan's throughput: a step of the loop takes at most 1.03 of its time
OVER = (20, 128)  # batch sizes at which the loop is compared with the bare scan


def training() -> list[Case]:
    cases = []
    for name, work in TRAINING.items():
        others = {"matmul": ("matmul", "best"), **PEERS}
        if name == "conv":
            others["lax-conv"] = ("with_jaxae", "lax-conv")
        for peer, (module, variant) in others.items():
            ours, theirs = Program("with_jaxae", name, "loop"), Program(module, name, variant)
            cases.append(Case(name, name, peer, work.about, ours, theirs, TARGETS.get((name, peer))))
    return cases


def inside() -> list[Case]:
    """jaxae's loop and data paths against the step without them, and the waiting for checkpoints."""
    cases = []
    for batch in OVER:
        ours, theirs = Program("with_jaxae", f"mlp-{batch}", "loop"), Program("with_jaxae", f"mlp-{batch}", "scan")
        about = f"the loop with its log against a bare compiled scan of the same step, batch {batch}"
        cases.append(Case("loop", f"loop-{batch}", "scan", about, ours, theirs, STEP))
    for variant, about in (("loop", "on the device"), ("stream", "streamed from the host")):
        ours, theirs = (Program("with_jaxae", "mlp-128", name) for name in (variant, "alone"))
        work = "data-resident" if variant == "loop" else "data-streamed"
        about = f"the loop with its data {about} against the step alone, one batch for all steps, batch 128"
        cases.append(Case("data", work, "alone", about, ours, theirs))
    for data, work in (("digits", "digits"), ("mnist", "mlp-128")):
        about = f"share of the training time spent waiting for checkpoints, {data}, every tenth of 100 epochs"
        ours = Program("jaxae_whole", work, "stall")
        cases.append(Case("checkpoint", f"checkpoint-{data}", "none", about, ours, None, 0.02, "share"))
    return cases


def lanes() -> list[Case]:
    """Many seeds of the MLP as one program, all their examples counted, against one run of pythae."""
    cases = []
    for batch in (128, 1024):
        work, many = f"mlp-{batch}", f"mlp-{batch}-x{LANES}"
        about = f"{LANES} seeds of the VAE 784-500-20 as one program, batch {batch:,}, the examples of all counted"
        ours, share = Program("with_jaxae", work, "lanes", LANES), 0.3 if batch == 1024 else None
        cases.append(Case(ACCELERATED, many, "matmul", about, ours, Program("matmul", work, "best"), share))
        cases.append(Case(ACCELERATED, many, "pythae", about, ours, Program("with_pythae", work, "train"), 50.0))
    return cases


def seeds() -> list[Case]:
    """The default digits MLP (512 units, batch 128) at 16 members, a small one (64 units, batch 32) at all."""
    cases = []
    for model, width, batch, members in (("small", 64, 32, MEMBERS), ("digits", 512, 128, (16,))):
        for count in members:
            for lanes in ("map", "vmap"):
                about = f"{count} runs of the digits' MLP, {width} units, batch {batch}, as one program ({lanes})"
                ours, theirs = (Program("jaxae_whole", model, variant, count) for variant in (lanes, "solo"))
                target = 2.0 if (model, count) == ("small", 16) else None
                cases.append(Case("seeds", f"seeds-{model}-{count}-{lanes}", "solo", about, ours, theirs, target))
    return cases


def nll() -> list[Case]:
    about = f"importance-weighted NLL with {NLL_SAMPLES:,} samples, the VAE 784-500-20"
    ours = Program("jaxae_whole", "mlp-128", "nll", NLL_SAMPLES)
    return [Case("nll", "nll", "pythae", about, ours, Program("with_pythae", "mlp-128", "nll", NLL_SAMPLES), 20.0)]


def starts() -> list[Case]:
    """Whole processes, Python's own start in their time."""

    def one(work: str, about: str, variant: str, target: float | None) -> Case:
        return Case("start", f"start-{work}", "none", about, Program("start", "digits", variant), None, target, "s")

    return [
        one("help", "`jaxae --help`", "help", 0.5),
        one("import", "`import jaxae`", "import", None),
        one("import-all", "`from jaxae import run, sweep`: what training needs", "import-all", None),
        one("first-cold", "the first step of the digits' default run, compilation cache empty", "cold", 8.0),
        one("first-warm", "the same, compilation cache filled", "warm", 4.0),
    ]


CASES = [*training(), *lanes(), *inside(), *seeds(), *nll(), *starts()]
GROUPS = tuple(dict.fromkeys(case.group for case in CASES))


def chosen(works: list[str] | None, peers: list[str] | None) -> list[Case]:
    """The cases of those groups or works, and of those peers."""
    found = [case for case in CASES if ({case.group, case.work} & set(works) if works else case.group != ACCELERATED)]
    return [case for case in found if not peers or case.peer in peers]
