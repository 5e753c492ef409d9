"""What stands in the user's own file, named `path/to/mine.py:mine`: a method, a network, a likelihood, an optimiser's
rule, a measure or a function of features.

Reading such a file, for its docstring and arguments, runs nothing. It runs when its user has named it, on a
command line or in a Config. What a run's folder names runs only if that very file (its SHA-256) has been named before
on this machine: a folder from somebody else never brings code that runs by itself.
"""

import ast
import contextlib
import hashlib
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType

from jaxae.errors import InputError, first_line
from jaxae.home import cache, expanded

_NAMED: set[tuple[Path, Path]] = set()
"""By the user of this process: (cache folder, file)."""
_READ: dict[str, bytes] = {}
"""By its SHA-256 every file that was read here: what a run was made with, whatever becomes of the file."""


def is_own(name: str) -> bool:
    return ".py:" in name


def split(name: str) -> tuple[Path, str]:
    """The file and the function's name. Raises InputError where there is no such file."""
    path, _, function = name.rpartition(":")
    file = expanded(path).resolve()
    if not file.is_file():
        raise InputError(f"{name!r}: no file {file}: expected path/to/mine.py:mine")
    if not function.isidentifier():
        raise InputError(f"{name!r}: {function!r} is no name of a function: expected path/to/mine.py:mine")
    return file, function


def is_there(name: str) -> bool:
    try:
        return expanded(name.rpartition(":")[0]).is_file()
    except OSError:  # in a folder that may not be looked into
        return False


def moved(name: str, where: str) -> str:
    """The name of the same function, its file looked for near the file `where` that names it: under the folders that
    `where` lies in, by the end of its path. As it was, where none is found. Its digest is for others to check."""
    path, _, function = name.rpartition(":")
    parts = Path(path).parts
    for folder in Path(where).resolve().parents:
        for depth in range(1, len(parts)):
            if (file := folder.joinpath(*parts[-depth:])).is_file():
                return f"{file}:{function}"
    return name


def absolute(name: str) -> str:
    """The same function from any working folder."""
    file, function = split(name)
    return f"{file}:{function}"


def short(name: str) -> str:
    """Without the folders, which decide no result."""
    return Path(name).name


def sha256(name: str) -> str:
    return _sha256(split(name)[0])


def is_the_file(file: Path, sha256: str) -> bool:
    try:
        return (file := expanded(file)).is_file() and _sha256(file) == sha256
    except OSError:  # somebody else's, that may not be read
        return False


def as_read(sha256: str) -> bytes | None:
    """The file of that SHA-256, as this process has read it."""
    return _READ.get(sha256)


def allow(file: Path) -> None:
    """The user has named it: this very file may run from now on, and in this process also what becomes of it. Raises
    InputError where that cannot be kept for the processes to come."""
    known, mark = (cache(), file) in _NAMED, _mark(file)
    _NAMED.add((cache(), file))
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        if known:
            return
        raise InputError(
            f"{mark.parent}: {error.strerror}: what is kept there says which files may run where a folder names them: "
            "set JAXAE_CACHE to a folder that can be written"
        ) from None


def must_be_allowed(name: str, where: str) -> None:
    """Raises InputError where the file that `where` names has never been named by this user."""
    file, _ = split(name)
    if (cache(), file) not in _NAMED and not _mark(file).exists():
        raise InputError(
            f"{where} asks to run the file {file}, which has changed, or was never named here: read it, "
            f"then allow it by `jaxae allow {file}`"
        )


def definition(file: Path, function: str, form: str) -> tuple[ast.Module, ast.FunctionDef]:
    """The file, parsed and not run, and the function of that name in it, of one argument or as many as `form` shows,
    `(net, *, ...) -> Method`. Raises InputError where it has no such function."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{file}: not Python: {error}") from None
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    if not found:
        raise InputError(f"{file.name}: expected a function {function}{form}")
    *_, last = found  # of one name, that which a module keeps
    arguments = [name for name in form[1 : form.index(")")].split(", ") if name.isidentifier()]
    if len(last.args.posonlyargs + last.args.args) != len(arguments):
        raise InputError(f"{file.name}: {function}: expected {function}{form}")
    return tree, last


def keywords(name: str, form: str) -> dict[str, bool]:
    """The keyword arguments of the user's function, and whether each has a default."""
    of = definition(*split(name), form)[1].args
    return {arg.arg: default is not None for arg, default in zip(of.kwonlyargs, of.kw_defaults)}


def mentions(name: str, form: str) -> set[str]:
    """Every name and attribute in the file of the user's function."""
    tree, _ = definition(*split(name), form)
    return {getattr(node, "id", None) or getattr(node, "attr", None) or "" for node in ast.walk(tree)}


def function(name: str) -> Callable:
    """The user's function, its file run now."""
    return getattr(load(name), split(name)[1])


def load(name: str) -> ModuleType:
    """The file, run as a module of its own."""
    file, _ = split(name)
    code = file.read_bytes()  # what is hashed is what runs: no __pycache__, which goes by the second
    title = f"jaxae_own_{file.stem}_{hashlib.sha256(code).hexdigest()[:16]}"
    if title in sys.modules:
        return sys.modules[title]
    module = sys.modules[title] = ModuleType(title)
    module.__file__ = str(file)
    try:
        with told(str(file), file, but=(ImportError,)):
            exec(compile(code, str(file), "exec"), vars(module))
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


@contextlib.contextmanager
def told(title: str, file: Path, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """What the user's function raises, in one line with its place; `but` such errors, which are for others."""
    try:
        yield
    except Exception as error:  # whatever it raises
        if isinstance(error, (InputError, FloatingPointError, *but)):
            raise
        where = place(error, [file])
        raise InputError(f"{title}{where and f' ({where})'}: {first_line(error)}") from error


def place(error: BaseException, files: Collection[Path]) -> str:
    """Where in the user's own `files` it was raised, "mine.py, line 3"; empty where in none of them."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) in files]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def _beside(file: Path, module: str | None) -> str:
    """The neighbour of `file` that an import of `module` asks for; empty where there is none."""
    first = (module or "").split(".")[0]
    return next((name for name in (f"{first}.py", first) if first and file.with_name(name).exists()), "")


def _sha256(file: Path) -> str:
    content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    _READ[sha256] = content
    return sha256


def _mark(file: Path) -> Path:
    return cache() / "methods" / _sha256(file)
