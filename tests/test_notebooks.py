"""Notebooks as other programs take them: valid files that JupyterLab, VS Code and Colab open, and
that install the package where it is missing."""

from pathlib import Path
import nbformat, pytest

NBS = Path(__file__).resolve().parents[1] / "nbs"
ALL = sorted(p for p in NBS.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
PAGES = [p for p in ALL if p.parent.name in ("tutorials", "how_to", "explanations")]


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.relative_to(NBS).as_posix())
def test_it_is_a_valid_file_for_a_python_kernel(path):
    nb = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.metadata.kernelspec.name) == (4, "python3")
    assert nb.nbformat_minor >= 5 and len({c.id for c in nb.cells}) == len(
        nb.cells
    )  # VS Code keeps cells apart by their ids
    assert "widgets" not in nb.metadata and not any(
        "application/vnd.jupyter.widget-view+json" in o.get("data", {})
        for c in nb.cells
        for o in c.get("outputs", [])
    )


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(NBS).as_posix())
def test_its_first_cell_installs_the_package_where_it_is_missing(path, monkeypatch):
    import builtins, importlib.util

    first = next(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code")
    asked, real = [], builtins.__import__
    shell = type("Shell", (), dict(run_line_magic=lambda self, *args: asked.append(args)))()
    exec(first, dict(get_ipython=lambda: shell))
    assert asked == []  # here it is installed
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None)
    monkeypatch.setattr(
        builtins,
        "__import__",
        lambda name, *a, **k: (
            (_ for _ in ()).throw(ImportError(name)) if name == "flops_fit" else real(name, *a, **k)
        ),
    )
    exec(first, dict(get_ipython=lambda: shell))
    assert (
        len(asked) == 1
        and asked[0][0] == "pip"
        and "install" in asked[0][1]
        and "git+https://github.com/flops-fit/flops_fit" in asked[0][1]
    )
