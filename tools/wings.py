"""The `__init__` of each wing, which hands on the public names of its modules: `python
tools/wings.py` writes them.

The names are read from the modules without importing them; `python tools/wings.py --check` says
what is not as it would
be written, and ends with 1."""

import argparse
import ast
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WINGS = {
    "fitter": "The law: fit runs to it, read off the optimum, and say how sure that is.",
    "planner": "The design of a sweep: what is counted, how runs are trained, which runs are made.",
    "trainer": "The sweep itself: runs are trained, kept and found again.",
    "plotter": "What is looked at: plots, and explorers with sliders.",
}
ERRORS = {
    "fitter": "FitError FitWarning",
    "planner": "ContractError FitWarning",
    "trainer": "ContractError",
}
# the module that puts the last methods on a class
COMPLETE = {"LawFit": "answers", "ScalingAnalysis": "report"}


def public(path):
    "Names a module makes and lists in its `__all__`; names it only hands on are another module's."
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assigned = [n for n in tree.body if isinstance(n, ast.Assign)]
    listed = next(n.value for n in assigned if getattr(n.targets[0], "id", "") == "__all__")
    targets = [t for n in assigned for t in n.targets]
    made = {t.id for t in targets if isinstance(t, ast.Name)}
    made |= {e.id for t in targets if isinstance(t, ast.Tuple) for e in t.elts}
    made |= {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    return [name for name in ast.literal_eval(listed) if name in made]


def init(wing):
    "Text of a wing's `__init__.py`"
    modules = sorted((ROOT / "flops_fit" / wing).glob("[a-z]*.py"))
    where = {path.stem: public(path) for path in modules}
    for name, last in COMPLETE.items():
        for names in where.values():
            if name in names:
                names.remove(name)
                where[last].append(name)
                break
    if wing in ERRORS:
        where["..errors"] = ERRORS[wing].split()
    lines = [f'"{WINGS[wing]}"', "from ..lazy import lazily", ""]
    lines.append("__getattr__, __dir__, __all__ = lazily(__name__, {")
    for module, names in where.items():
        if not names:
            continue
        parts = textwrap.wrap(" ".join(names), 80)
        rows = [f'"{part} "' for part in parts[:-1]] + [f'"{parts[-1]}"']
        lines.append(
            f'    "{module}": ' + f"\n{' ' * 8}".join(["", *rows] if rows[1:] else rows) + ","
        )
    return "\n".join([*lines, "})", ""]).replace(": \n", ":\n")


def main(check=False):
    wrong = []
    for wing in WINGS:
        path = ROOT / "flops_fit" / wing / "__init__.py"
        text = init(wing)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            wrong.append(path)
        if not check:
            path.write_text(text, encoding="utf-8")
    return wrong if check else []


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--check", action="store_true", help="write nothing")
    if wrong := main(ap.parse_args().check):
        raise SystemExit("not as tools/wings.py writes them: " + ", ".join(map(str, wrong)))
