"""What the house is measured by: `python tools/house.py` says where a page or module breaks its
rules, and ends with 1.

With pages (`python tools/house.py nbs/fitter/00c_laws.ipynb ...`), it looks at those alone. The
rules: lines of at most
100 characters, 88 where people read; exported cells of at most 40 lines; outputs on every page with
examples; imports
that point down; no private name across modules; modules of at most 300 lines."""

import ast
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
WIDE, READ, CELL, MODULE = 100, 88, 40, 300
READERS = ("tutorials", "how_to", "explanations")

# who may import whom: a package, or a module of the top floor, and what lies under it
STONES = {"errors", "lazy", "text", "files"}
MAY = {
    "fitter": set(),
    "planner": {"fitter"},
    "trainer": {"fitter", "planner"},
    "plotter": {"fitter", "planner", "trainer"},
    "result": {"fitter", "planner", "trainer", "plotter"},
    "core": {"fitter", "planner", "trainer", "plotter", "result"},
    "taskfile": set(),
    "terminal": set(),
    "options": {"planner", "taskfile"},
    "cli": {
        "fitter",
        "planner",
        "trainer",
        "plotter",
        "result",
        "core",
        "taskfile",
        "options",
        "terminal",
        "examples",
    },
    "examples": {
        "fitter",
        "planner",
        "trainer",
        "plotter",
        "result",
        "core",
        "taskfile",
        "options",
    },
    "model": {"examples"},
}
# the stones, from the ground up
MAY |= {"lazy": set(), "errors": set(), "text": {"errors"}, "files": {"errors"}}


def pages():
    found = sorted((ROOT / "nbs").rglob("*.ipynb"))
    return [p for p in found if ".ipynb_checkpoints" not in p.parts]


def modules():
    found = sorted((ROOT / "flops_fit").rglob("*.py"))
    return [p for p in found if p.name != "_modidx.py"]


def code_of(cell):
    "The source of a cell of code; of one of prose, what stands between fences"
    if cell.cell_type == "code":
        return cell.source
    return "\n".join(re.findall(r"(?ms)^```\w*\n(.*?)^```", cell.source))


def is_exported(cell):
    return bool(re.match(r"#\|\s*export", cell.source))


def code_lines(source):
    "Lines that are neither blank nor directives of nbdev"
    return [x for x in source.splitlines() if x.strip() and not x.startswith("#|")]


def is_example(cell):
    "Code a reader runs: neither exported nor hidden, and not only imports"
    if re.match(r"#\|\s*(export|hide|default_exp|eval: false)", cell.source):
        return False
    try:
        body = ast.parse(cell.source).body
    except SyntaxError:  # a magic
        return True
    return not all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in body)


def is_silent(nb):
    "Has examples, and shows nothing of what they give"
    code = [c for c in nb.cells if c.cell_type == "code"]
    return any(map(is_example, code)) and not any(c.outputs for c in code)


def page_faults(path):
    "(rule, what) for a notebook"
    nb = nbformat.read(path, 4)
    reads = path.parent.name in READERS or path.name == "index.ipynb"
    limit = READ if reads else WIDE
    for i, cell in enumerate(nb.cells):
        for line in code_of(cell).splitlines():
            if len(line) > limit:
                yield f"lines over {limit}", f"cell {i}: {line.strip()[:60]}"
        if cell.cell_type != "code":
            continue
        if is_exported(cell) and (n := len(code_lines(cell.source))) > CELL:
            yield f"cells over {CELL} lines", f"cell {i}: {n}"
        yield from (("statements", f"cell {i}: {what}") for what in crowded(cell.source))
    if is_silent(nb):
        yield "pages without outputs", "run tools/execute.py"


def crowded(source):
    "Two statements in one line, and conditional expressions inside one another"
    try:
        tree = ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.IfExp) and any(
            isinstance(n, ast.IfExp) for n in (node.body, node.orelse)
        ):
            yield f"nested conditional: {ast.unparse(node)[:60]}"
        for body in (getattr(node, "body", None), getattr(node, "orelse", None)):
            if not isinstance(body, list):
                continue
            for a, b in zip(body, body[1:]):
                if a.end_lineno == b.lineno:
                    yield f"two statements: {ast.unparse(b)[:60]}"


def place(path):
    "The package of a module, or the module itself on the top floor"
    parts = path.relative_to(ROOT / "flops_fit").parts
    return parts[0].removesuffix(".py")


def imported(path):
    "(package or module imported, its module, names) of every import of our own"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        here = path.parent
        for _ in range(node.level - 1):
            here = here.parent
        for name in [node.module] if node.module else [a.name for a in node.names]:
            to = here.joinpath(*name.split("."))
            yield place(to), name, [a.name for a in node.names]


def module_faults(path):
    "(rule, what) for a module"
    where = place(path)
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for line in lines:
        if len(line) > WIDE:
            yield f"lines over {WIDE}", line[:60]
    if len(lines) > MODULE:
        yield f"modules over {MODULE} lines", str(len(lines))
    for to, name, names in imported(path):
        if where != "__init__" and to != where and to not in MAY[where] | STONES:
            yield "imports that point up", f"{where} imports {to}"
        if where in MAY and where in STONES and to not in MAY[where] | {where}:
            yield "imports that point up", f"{where} imports {to}"
        for n in names:
            if n.startswith("_") and not n.startswith("__"):
                yield "private names across modules", f"{n} of {name}"


def main(chosen):
    chosen = [Path(p).resolve() for p in chosen]
    count = {}
    for path in chosen or pages():
        if path.suffix == ".ipynb":
            for rule, what in page_faults(path):
                count.setdefault(rule, []).append((path, what))
    for path in modules() if not chosen else [p for p in chosen if p.suffix == ".py"]:
        for rule, what in module_faults(path):
            count.setdefault(rule, []).append((path, what))
    for rule, found in count.items():
        print(f"{rule}: {len(found)}")
        for path, what in found if chosen else found[:40]:
            print(f"  {path.relative_to(ROOT)}: {what}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
