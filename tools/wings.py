"""What nbdev leaves to be done after an export: `python tools/wings.py` does it.

The `__init__` of each wing hands on the public names of its modules, which are read without
importing them; and `__all__`, which nbdev writes in lines of 120 characters, is wrapped at 100.
`python tools/wings.py --check` says what is not as it would be written, and ends with 1."""

import argparse
import ast
import re
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


def narrow(text):
    "A module whose `__all__` keeps to 100 characters a line"

    def wrapped(found):
        names = " ".join(found[1].split())
        return "__all__ = [" + textwrap.fill(names, 88).replace("\n", "\n" + " " * 11) + "]"

    return re.sub(r"^__all__ = \[([^]]*)\]", wrapped, text, count=1, flags=re.M)


def main(check=False):
    wanted = {ROOT / "flops_fit" / wing / "__init__.py": init(wing) for wing in WINGS}
    for path in (ROOT / "flops_fit").rglob("[a-z]*.py"):
        wanted[path] = narrow(path.read_text(encoding="utf-8"))

    wrong = []
    for path, text in wanted.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        wrong.append(path)
        if not check:
            path.write_text(text, encoding="utf-8")
    return wrong if check else []


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--check", action="store_true", help="write nothing")
    if wrong := main(ap.parse_args().check):
        raise SystemExit("not as tools/wings.py writes them: " + ", ".join(map(str, wrong)))
