"""What the tests of the architecture read off source text; nothing is imported or run."""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

MOST_MODULE_LINES = 300
MOST_FUNCTION_LINES = 60
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
HARMLESS = {"pickle.UnpicklingError"}
UNSAFE_CALLS = {"eval", "exec", "compile"}
LOADERS_MUST_SAY = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One imported module or name, absolute: `from a.b import c` is a.b.c."""

    name: str
    line: int


def imports(
    source: str, module: str, is_package: bool = False, inside_functions: bool = True
) -> list[Import]:
    """Return what a module imports at run time, inside functions too or at once."""
    found = []
    for node in _at_run_time(ast.parse(source), inside_functions):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".") + (["__init__"] if is_package else [])
                base = ".".join([*above[: -node.level], *base.split(".")]).rstrip(".")
            found += [Import(f"{base}.{alias.name}", node.lineno) for alias in node.names]
    return found


def _at_run_time(node: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    """Yield every node but those under `if TYPE_CHECKING:`, and maybe those in functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function) and not inside_functions:
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from _at_run_time(other, inside_functions)
        else:
            yield child
            yield from _at_run_time(child, inside_functions)


def covers(allowed: str, name: str) -> bool:
    """Return whether a dotted name is an allowed one or lies below it."""
    return name == allowed or name.startswith(f"{allowed}.")


def module_of(name: str, modules: Mapping[str, str]) -> str | None:
    """Return the module among `modules` that a dotted name means, or None."""
    if name in modules:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in modules else None


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the import cycles met by a depth-first walk."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> None:
        if node in path:
            found.append([*path[path.index(node) :], node])
        elif node not in done:
            for following in sorted(graph.get(node, ())):
                visit(following, [*path, node])
            done.add(node)

    for start in sorted(graph):
        visit(start, [])
    return found


def unsafe(source: str) -> list[str]:
    """Return what could run code that a file brings along, as `line: what`."""
    found = [
        f"{imported.line}: imports {imported.name}"
        for imported in imports(source, "module")
        if imported.name.split(".")[0] in UNSAFE_MODULES and imported.name not in HARMLESS
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in UNSAFE_CALLS:
                found.append(f"{node.lineno}: calls {called}")
            elif called in LOADERS_MUST_SAY and not _says(node, *LOADERS_MUST_SAY[called]):
                key, value = LOADERS_MUST_SAY[called]
                found.append(f"{node.lineno}: calls {called} without {key}={value}")
    return found


def _says(call: ast.Call, key: str, value: bool) -> bool:
    return any(word.arg == key and ast.unparse(word.value) == str(value) for word in call.keywords)


def too_long(source: str) -> list[str]:
    """Return a module and its functions that are over the limits."""
    lines = len(source.splitlines())
    found = [f"module: {lines} lines"] if lines > MOST_MODULE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_FUNCTION_LINES:
                found.append(f"{node.name}: {length} lines")
    return found


def undocumented(source: str) -> list[str]:
    """Return the public names without a docstring; methods of public classes count."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else ["the module"]

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                found.append(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")

    visit(tree.body, "")
    return found


def over_all(
    sources: Mapping[str, str], check: Callable[[str], list[str]], exempt: Mapping[str, str]
) -> list[str]:
    """Return what a check finds in the modules that are not exempt, as `module: finding`."""
    return [
        f"{module}: {finding}"
        for module, source in sources.items()
        if module not in exempt
        for finding in check(source)
    ]
