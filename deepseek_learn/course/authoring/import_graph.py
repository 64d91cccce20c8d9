"""Find the scripts that use a library file, and the files a lesson uses, from imports."""

import ast
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path

LIBRARY, SCRIPTS = "deepseek_learn", "benchmarks"


class ImportGraph:
    """The imports between the Python files in a repository.

    The files are parsed but not executed. Each file is identified by its path relative
    to the root, such as `deepseek_learn/dpg/gptq.py`. If a package re-exports a name,
    importing the name is treated as importing the file that defines it. For example,
    `from deepseek_learn.dpg import compress` is an import of `dpg/compression.py`.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        paths = [
            path.relative_to(self.root).as_posix()
            for folder in (LIBRARY, SCRIPTS)
            for path in self.root.glob(f"{folder}/**/*.py")
        ]
        # benchmarks do not import the course; the peers' environments are not ours
        other = (f"{LIBRARY}/course/", f"{SCRIPTS}/.venv/")
        self.files = {path for path in paths if not path.startswith(other)}

    def scripts(self, file: str) -> tuple[str, ...]:
        """Return the names of the benchmark scripts that measure `file`.

        These scripts import the file, or another file in its package that imports it.
        If there are none, the search continues with indirect imports within the
        package, and then with imports from other packages.
        """
        for place in (_package(file), LIBRARY):
            level, reach = {file}, set[str]()
            while level - reach:
                reach |= level
                level = self._importers(level, place) | reach
                if users := [each for each, used in self._uses.items() if used & level]:
                    return tuple(sorted(Path(script).stem for script in users))
        return ()

    def needs(self, code: str) -> set[str]:
        """Return the library files that a program uses.

        These are the files it imports, and those that they import in their own package:
        a lesson on `dpg` uses all of it, but one that loads a model from the zoo does
        not. Names in strings count too: `data.load("elpv")` uses `data/elpv.py`.

        Args:
            code: the source code of a program outside the repository's packages, such as
                the code cells of a lesson.
        """
        tree = ast.parse(code)
        words = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        ahead = set(self._targets(tree, "program.py"))
        library = {file for file in self.files if file.startswith(LIBRARY)}
        ahead |= {file for file in library if Path(file).stem in words}
        needs = set[str]()
        while ahead:
            needs |= ahead
            ahead = {
                each
                for file in ahead
                for each in self._imports(file)
                if _package(each) == _package(file)
            } - needs
        return needs

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """A mapping from each file to the files that define the names it imports."""
        return {file: self._imports(file) for file in self.files}

    @cached_property
    def _uses(self) -> dict[str, set[str]]:
        """A mapping from each script to the files it imports.

        Imports through other benchmark files are included.
        """
        uses: dict[str, set[str]] = {}
        for script in sorted(self.files):
            if script.startswith(SCRIPTS) and script.count("/") == 1:
                uses[script], ahead = set(), {script}
                while ahead:
                    new = self.imports[ahead.pop()] - uses[script]
                    uses[script] |= new
                    ahead |= {each for each in new if each.startswith(SCRIPTS)}
        return uses

    def _importers(self, files: set[str], place: str) -> set[str]:
        importers = {each for each, targets in self.imports.items() if targets & files}
        return {each for each in importers if each.startswith(place)}

    @cache  # noqa: B019 - a graph exists only while one page is generated
    def _imports(self, file: str) -> set[str]:
        source = (self.root / file).read_text(encoding="utf-8")
        return set(self._targets(ast.parse(source), file))

    def _targets(self, tree: ast.Module, file: str) -> Iterator[str]:
        modules, nodes = {}, [*ast.walk(tree)]
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                base = _absolute(node, file)
                if file.startswith(SCRIPTS) and self._source(base) is None:
                    base = f"{SCRIPTS}.{base}"  # a script's folder is on `sys.path`
                for alias in node.names:
                    module = f"{base}.{alias.name}"
                    if self._is_package(module):
                        # only the names used from a package count as imports
                        modules[alias.asname or alias.name] = module
                    elif source := self._definition(base, alias.name):
                        yield source
        for node in nodes:
            if isinstance(node, ast.Attribute):
                package = modules.get(getattr(node.value, "id", ""))
                if package and (source := self._definition(package, node.attr)):
                    yield source

    def _definition(self, module: str, name: str) -> str | None:
        """Return the file that defines `name`, or None if `module` is external."""
        if source := self._source(f"{module}.{name}"):
            return source
        origin = self._exports(module).get(name)
        if origin and origin != module:  # not `from . import course`, which is excluded
            return self._definition(origin, name)
        return self._source(module)

    def _source(self, module: str) -> str | None:
        path = module.replace(".", "/")
        candidates = (f"{path}.py", f"{path}/__init__.py")
        return next((each for each in candidates if each in self.files), None)

    def _is_package(self, module: str) -> bool:
        return (self._source(module) or "").endswith("/__init__.py")

    @cache  # noqa: B019 - a graph exists only while one page is generated
    def _exports(self, package: str) -> dict[str, str]:
        """Return the names that a package re-exports and the modules they come from.

        They are read from the package's stub or, without one, from its `__init__.py`.
        """
        folder = self.root / package.replace(".", "/")
        for path in (folder / "__init__.pyi", folder / "__init__.py"):
            if path.is_file():
                tree = ast.parse(path.read_text(encoding="utf-8"))
                file = path.relative_to(self.root).as_posix()
                return {
                    alias.name: _absolute(node, file)
                    for node in tree.body
                    if isinstance(node, ast.ImportFrom) and node.level
                    for alias in node.names
                }
        return {}


def _package(file: str) -> str:
    return "/".join(file.split("/")[:2])


def _absolute(node: ast.ImportFrom, file: str) -> str:
    """Return the absolute name of the module in an import statement of `file`."""
    if not node.level:
        return node.module or ""
    package = file.split("/")[: -node.level]
    return ".".join([*package, *filter(None, [node.module])])
