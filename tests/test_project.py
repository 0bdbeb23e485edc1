"""The project's own promises: modules are exports, the README is its notebook and its commands
work, the package installs alone."""

import configparser, re, shutil, subprocess, sys
from pathlib import Path
import nbformat, pytest, yaml
import flops_fit

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT / "tools"))
import house  # noqa: E402


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    "What is in the project, without data and environments."
    to = tmp_path_factory.mktemp("copy") / "flops_fit"
    shutil.copytree(
        ROOT,
        to,
        ignore=shutil.ignore_patterns(
            ".git",
            ".venv",
            "demo",
            "outputs",
            "_docs",
            "_proc",
            "build",
            "__pycache__",
            ".pytest_cache",
            ".hypothesis",
            "*.egg-info",
            "dist",
        ),
    )
    return to


def contents(folder, pattern):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob(pattern))}


def test_modules_are_exactly_what_the_notebooks_export(copy):
    before = contents(copy / "flops_fit", "*.py")
    for command in ([BIN / "nbdev_export"], [BIN / "python", "tools/wings.py"]):
        subprocess.run(command, cwd=copy, check=True, capture_output=True)
    after = contents(copy / "flops_fit", "*.py")
    assert set(before) == set(after)
    assert [k for k in before if before[k] != after[k]] == []


def test_notebooks_are_clean(copy):
    before = contents(copy / "nbs", "*.ipynb")
    subprocess.run([BIN / "nbdev_clean"], cwd=copy, check=True, capture_output=True)
    assert [k for k, v in contents(copy / "nbs", "*.ipynb").items() if before[k] != v] == []


def test_readme_is_its_notebook():
    sys.path.insert(0, str(ROOT / "tools"))
    from make_readme import readme

    assert (ROOT / "README.md").read_text(encoding="utf-8") == readme()


def test_readme_links_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text):
        assert (ROOT / target.split("#")[0]).exists(), target


def test_readme_commands_work(tmp_path):
    """Each command in a shell block: make targets exist (CI runs them in full), flops-fit lines are
    run, in an empty folder with a table of runs."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [
        l.split("#")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", text, re.S)
        for l in block.splitlines()
        if l.split("#")[0].strip()
    ]
    assert any(l == "make demo" for l in lines) and any(l == "make test" for l in lines)
    (tmp_path / "runs.csv").write_text(runs_csv())
    for line in lines:
        if line.startswith("make "):
            assert (
                subprocess.run([*line.split(), "-n"], cwd=ROOT, capture_output=True).returncode == 0
            ), line
        elif line.startswith("flops-fit demo"):
            assert (
                subprocess.run(
                    [BIN / "flops-fit", "demo", "--help"], capture_output=True
                ).returncode
                == 0
            )
        elif line.startswith("flops-fit"):
            if "train" in line:
                line += " --mock"
            out = subprocess.run(
                [BIN / "flops-fit", *line.split()[1:]], cwd=tmp_path, capture_output=True, text=True
            )
            assert out.returncode == 0, f"{line}\n{out.stderr}"
        else:
            assert line.startswith(("pip install", "git clone", "cd ")), (
                f"no test knows how to run {line!r}"
            )


def runs_csv():
    import numpy as np

    rows = [
        (N, C / 6 / N, 1.6 + 50 / N**0.3 + 123 / (C / 6 / N) ** 0.3)
        for C in (1e18, 3e18, 1e19, 3e19)
        for N in np.geomspace(2e7, 8e8, 7)
    ]
    return "N,D,loss\n" + "".join(f"{n},{d},{l}\n" for n, d, l in rows)


def test_it_installs_alone(copy, tmp_path):
    "A wheel, unpacked where nothing else of the project is, imports and has its commands."
    out = subprocess.run(
        [
            BIN / "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--disable-pip-version-check",
            "--target",
            tmp_path / "site",
            copy,
        ],
        capture_output=True,
        text=True,
    )
    if out.returncode:
        out = subprocess.run(
            [
                BIN / "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
                "--target",
                tmp_path / "site",
                copy,
            ],
            capture_output=True,
            text=True,
        )
    assert out.returncode == 0, out.stderr
    code = (
        "import flops_fit, flops_fit.core, flops_fit.examples, sys; assert 'site' in "
        "flops_fit.__file__, flops_fit.__file__; print(flops_fit.__version__)"
    )
    got = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    cfg = configparser.ConfigParser(delimiters=["="])
    cfg.read(ROOT / "settings.ini")
    assert got.stdout.strip() == cfg["DEFAULT"]["version"], got.stderr
    assert (
        not list((tmp_path / "site").glob("tests*"))
        and (tmp_path / "site" / "bin" / "flops-fit").exists()
    )


def test_changes_are_told():
    """Every heading is a version with its date; the newest is the version of the package, the only
    one that may be unreleased, and says something."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    parts = re.split(r"(?m)^## ", text)[1:]
    heads = [
        re.fullmatch(r"(\d+\.\d+\.\d+) \((unreleased|\d{4}-\d\d-\d\d)\)", p.split("\n")[0])
        for p in parts
    ]
    assert all(heads), [p.split("\n")[0] for p in parts]
    versions = [tuple(map(int, h[1].split("."))) for h in heads]
    assert versions == sorted(versions, reverse=True)
    assert "unreleased" not in [h[2] for h in heads[1:]]
    assert all(re.search(r"(?m)^- \w", p) for p in parts)

    settings = configparser.ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini")
    cited = re.search(r"(?m)^version: (\S+)", (ROOT / "CITATION.cff").read_text())[1]
    assert heads[0][1] == settings["DEFAULT"]["version"] == flops_fit.__version__ == cited


def test_the_map_in_contributing_names_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text[text.index("| floor |") : text.index("### Three walks")]
    named = set(re.findall(r"\b[a-z_]+\b", table))
    rooms = {p.stem for p in house.modules() if p.parent.name != "examples" and p.stem[0] != "_"}
    assert rooms - named == set()
    walked = re.findall(r"`((?:planner|trainer|fitter)\.\w+)`", text)
    assert len(walked) > 15
    assert all((ROOT / "flops_fit" / f"{w.replace('.', '/')}.py").exists() for w in walked)


def test_the_workflow_tests_every_python_that_is_promised():
    settings = configparser.ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini")
    least = settings["DEFAULT"]["min_python"]
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    pythons = workflow["jobs"]["quick"]["strategy"]["matrix"]["python"]
    assert pythons[0] == least and len(pythons) == 4
    named = re.search(r"SLOW = (.*)", (ROOT / "Makefile").read_text())[1].split()
    assert all((ROOT / f"tests/test_{name}.py").exists() for name in named)


def test_what_the_house_is_measured_by_sees_each_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(house, "ROOT", tmp_path)
    long = "x = " + "+".join(["1"] * 60)
    cells = [
        nbformat.v4.new_code_cell("#| export\n" + "\n".join(f"x{i} = {i}" for i in range(41))),
        nbformat.v4.new_code_cell(long),
        nbformat.v4.new_code_cell("a = 1; b = 2\nc = 1 if a else 2 if b else 3"),
        nbformat.v4.new_markdown_cell(f"{'prose ' * 40}\n\n```python\n{long}\n```"),
    ]
    page = tmp_path / "nbs/planner/00_page.ipynb"
    page.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), page)
    assert [rule for rule, _ in house.page_faults(page)] == [
        "cells over 40 lines",
        "lines over 100",
        "statements",
        "statements",
        "lines over 100",
        "pages without outputs",
    ]
    module = tmp_path / "flops_fit/planner/page.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "from ..trainer.store import RunStore\nfrom .plan import _span\n" + "\n" * 300
    )
    assert [rule for rule, _ in house.module_faults(module)] == [
        "modules over 300 lines",
        "imports that point up",
        "private names across modules",
    ]
