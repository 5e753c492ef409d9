"""What a notebook meets first: the names under `jaxae`, and what Python says of its types."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import jaxae
from jaxae import data, sweep, types

NAMES = ("Config", "Diverged", "InputError", "Interrupted", "keep_compiled")


def test_tab_shows_what_is_public_and_nothing_else():
    assert dir(jaxae) == sorted([*jaxae.__all__, "__version__"])
    assert {*NAMES, "run", "sweep", "artifacts", "compare", "data", "methods", "samplers", "report"} < set(dir(jaxae))
    assert not {"gpu", "home", "names", "own", "annotations", "Any"} & set(dir(jaxae))


@pytest.mark.parametrize("name", [name for name in jaxae.__all__ if name not in NAMES])
def test_every_public_module_is_there_when_it_is_asked_for(name):
    module = jaxae.__getattr__(name)
    assert isinstance(module, ModuleType) and module.__name__ == f"jaxae.{name}"
    assert module is getattr(jaxae, name) and module.__doc__


def test_a_module_is_imported_on_first_use_and_no_sooner():
    code = "import sys, jaxae\ndir(jaxae), jaxae.methods.entries()\nassert 'jax' not in sys.modules\njaxae.run.train"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", [data, sweep], ids=lambda package: package.__name__)
def test_a_package_that_imports_late_shows_what_it_will_have(package):
    assert dir(package) == sorted(package.__all__)


def test_what_is_no_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'jaxae' has no attribute 'rum'"):
        jaxae.rum  # noqa: B018


OF_TYPES = [getattr(types, node.name) for node in ast.parse(inspect.getsource(types)).body if hasattr(node, "bases")]


@pytest.mark.parametrize("of", OF_TYPES, ids=lambda of: of.__name__)
def test_help_says_of_each_field_of_a_type_what_it_is(of):
    assert of._fields
    assert not [name for name in of._fields if "Alias for field" in getattr(of, name).__doc__]


def test_help_shows_the_text_under_a_field_or_else_its_type():
    assert types.Method.init.__doc__ == "(key, batch) -> Variables"
    assert types.Net.decoder.__doc__ == "A module z -> out [batch, height, width, channels]."
    assert (types.Batch.x.__doc__, types.Net.latent.__doc__) == ("Images", "int")


def test_a_source_is_shown_on_one_line_without_its_pixels(digits):
    assert repr(digits.test) == "Split(rows=uint8[360, 8, 8, 1], labels=int32[360], places=int64[360])"
    assert "\n" not in repr(digits) and "train=Split(rows=uint8[1257, 8, 8, 1]," in repr(digits)


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "import jax; "])
def test_what_is_compiled_is_kept_where_a_notebook_asks_for_it(tmp_path, before):
    code = (
        f"{before}import jaxae; jaxae.keep_compiled(); import jax; import jax.numpy as jnp; "
        "jax.jit(lambda x: x + 2)(jnp.ones(3)); print(jax.config.jax_compilation_cache_dir)"
    )
    unset = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    env = {**unset, "JAXAE_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    kept = Path(done.stdout.strip())
    assert kept.parent == tmp_path / "xla" and any(kept.iterdir())
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**env, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")}, check=True,
    )  # fmt: skip
    assert elsewhere.stdout.strip() == str(tmp_path / "mine")
    (tmp_path / "file").write_text("no folder")
    nowhere = {**env, "JAXAE_CACHE": str(tmp_path / "file")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=nowhere, check=True)
    assert done.stdout.strip() == "None" and "set JAXAE_CACHE to a folder that can" in done.stderr
