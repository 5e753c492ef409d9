"""A method, or a function of features, in the user's own file, named `path/to/mine.py:mine`.

Reading such a file, for its docstring and hyperparameters, runs nothing. It runs when its user has named it, on a
command line or in a Config. What a run's folder names runs only if that very file (its SHA-256) has been named before
on this machine: a folder from somebody else never brings code that runs by itself.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from jaxae.errors import InputError
from jaxae.home import cache, expanded


def is_own(name: str) -> bool:
    return ".py:" in name


def split(name: str) -> tuple[Path, str]:
    """The file and the factory's name. Raises InputError where there is no such file."""
    path, _, factory = name.rpartition(":")
    file = expanded(path).resolve()
    if not file.is_file():
        raise InputError(f"method {name!r}: no file {file}: expected path/to/mine.py:mine")
    if not factory.isidentifier():
        raise InputError(f"method {name!r}: {factory!r} is no name of a function: expected path/to/mine.py:mine")
    return file, factory


def absolute(name: str) -> str:
    """The same method from any working folder."""
    file, factory = split(name)
    return f"{file}:{factory}"


def short(name: str) -> str:
    """Without the folders, which decide no result."""
    return Path(name).name


def sha256(name: str) -> str:
    return hashlib.sha256(split(name)[0].read_bytes()).hexdigest()


def remember(name: str) -> None:
    """The user has named it: this very file may run from now on."""
    if is_own(name):
        mark = _mark(name)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def must_be_known(name: str, where: str) -> None:
    """Raises InputError where the file that `where` names has never been named by this user."""
    if is_own(name) and not _mark(name).exists():
        raise InputError(
            f"{where} asks to run the file {split(name)[0]}, which has changed, or was never named here: read it, "
            f"then allow it by `jaxae methods {name}`"
        )


def load(name: str) -> ModuleType:
    """The file, run as a module of its own."""
    file, _ = split(name)
    title = f"jaxae_own_{file.stem}_{sha256(name)[:16]}"
    if title in sys.modules:
        return sys.modules[title]
    spec = importlib.util.spec_from_file_location(title, file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[title] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[title]
        relative = isinstance(error, ImportError) and "relative import" in str(error)
        beside = "what lies" if relative else isinstance(error, ImportError) and _beside(file, error.name)
        if beside:
            raise InputError(
                f"{file} imports {beside} beside it: expected one file that is complete, for its SHA-256 is "
                "kept and no other's; or a package that is installed"
            ) from None
        raise
    return module


def _beside(file: Path, module: str | None) -> str:
    """The neighbour of `file` that an import of `module` asks for; empty where there is none."""
    first = (module or "").split(".")[0]
    return next((name for name in (f"{first}.py", first) if first and file.with_name(name).exists()), "")


def _mark(name: str) -> Path:
    return cache() / "methods" / sha256(name)
