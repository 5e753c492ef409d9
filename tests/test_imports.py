"""Imports go one way, and what must answer at once loads no jax; nothing ever loads TensorFlow or torch."""

import ast
import builtins
import dis
import subprocess
import symtable
import sys
from pathlib import Path
from types import CodeType

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxae"
# a module may import those of the lines above its own, and those of its own line
LAYERS = """
errors names types digest home gpu files signals
own
copies
schedules densities random axis exact hosts join bounds purity
flows sphere divergences quantize similarity
likelihoods parts networks
hyperbolic leapfrog riemannian
gaussian codebooks
methods optim values agreement config
axes
plan
command
memory compiler
train parallel
data
facts store checkpoint folder evaluate log progress
modules start
setup
record trials fits
forms
build compare
programs lane loop
run
artifacts sweep
samplers
report
cli
__main__ __init__
"""
LEVEL = {name: level for level, line in enumerate(LAYERS.strip().splitlines()) for name in line.split()}
LIGHT = [
    "jaxae", "jaxae.config", "jaxae.cli", "jaxae.cli.train", "jaxae.cli.compare", "jaxae.methods",
    "jaxae.networks.catalogue",
    "jaxae.names", "jaxae.schedules", "jaxae.errors", "jaxae.data", "jaxae.networks",
]  # fmt: skip
FOREIGN = ("tensorflow", "torch", "keras", "pickle")


def imports(file):
    """(line, module, names) of every absolute import in a file, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            yield node.lineno, node.module, [alias.name for alias in node.names]


def imported_parts(file):
    """(line, part) for every part of jaxae that a file imports: data, config, ..."""
    for line, module, names in imports(file):
        if module == "jaxae":
            yield from ((line, name) for name in names if name in LEVEL)
        elif module.startswith("jaxae."):
            yield line, module.split(".")[1]


FILES = sorted(PACKAGE.rglob("*.py"))


def part(file):
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def globals_in(code):
    """The names that a code looks for in its module, functions inside of it too."""
    yield from (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from globals_in(inner)


def test_every_name_is_defined():
    """What the linter would tell, were it not for shapes written as strings."""
    for file in [*FILES, *(PACKAGE.parent / "experiments").rglob("*.py")]:
        text, name = file.read_text(), str(file)
        symbols = symtable.symtable(text, name, "exec").get_symbols()
        defined = {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}
        used = set(globals_in(compile(text, name, "exec")))
        assert used <= defined | set(dir(builtins)) | {"__file__", "__name__", "__path__"}, name


def test_every_part_has_its_level():
    assert {part(file) for file in FILES} == set(LEVEL)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_one_way(file):
    own = LEVEL[part(file)]
    upward = [f"line {line}: {name}" for line, name in imported_parts(file) if LEVEL[name] > own]
    assert not upward, f"jaxae.{part(file)} may not import {', '.join(upward)}"


def test_no_part_imports_one_that_imports_it():
    """Within a level too: no cycles between parts."""
    needs = {name: set() for name in LEVEL}
    for file in FILES:
        needs[part(file)] |= {name for _, name in imported_parts(file)} - {part(file)}
    while free := {name for name, others in needs.items() if not others & needs.keys()}:
        needs = {name: others for name, others in needs.items() if name not in free}
    assert not needs, f"a cycle among {', '.join(sorted(needs))}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_imports_tensorflow_torch_or_pickle(file):
    found = [f"line {line}: {module}" for line, module, _ in imports(file) if module.split(".")[0] in FOREIGN]
    assert not found


def loaded(code):
    """The modules in sys.modules of a fresh process after `code`."""
    words = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, sep='\\n')"]
    return set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines())


def test_what_must_answer_at_once_loads_no_jax():
    code = "\n".join(f"import {name}; assert 'jax' not in sys.modules, {name!r}" for name in LIGHT)
    found = loaded(f"{code}\njaxae.config.Config()\njaxae.methods.entries()")
    assert not {"jax", "flax", "optax", "tensorflow_datasets"} & found


def test_a_run_a_sweep_their_likelihoods_and_a_report_load_nothing_that_only_others_need():
    code = "from jaxae import data, run, sweep\nfrom jaxae.evaluate import metrics\nfrom jaxae.report import page\n"
    assert not {"sklearn", "pandas", "scipy.stats"} & loaded(f"{code}data.load('digits')")


def test_the_whole_package_loads_neither_tensorflow_nor_torch():
    names = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in FILES]
    modules = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    found = loaded("\n".join(f"import {name}" for name in modules))
    assert set(modules) <= found
    assert not {"tensorflow", "torch", "keras"} & found
