"The docs site: built with warnings as errors, every link alive, and what a page shows."

import importlib.util, re
from pathlib import Path
import nbformat, pytest

ROOT = Path(__file__).resolve().parents[1]
for needed in ("sphinx", "myst_nb", "sphinx_book_theme", "nbdev"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install -e '.[dev]'")
spec = importlib.util.spec_from_file_location("build_docs", ROOT / "tools" / "build_docs.py")
docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(docs)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    import subprocess, sys

    out = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "build_docs.py"), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=1500,
    )
    if "MathJax is needed" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def test_every_notebook_is_a_page_with_search_and_math_of_its_own(site):
    names = {
        p.with_name(docs.plain(p.name)).relative_to(ROOT / "nbs").as_posix()
        for p in (ROOT / "nbs").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in p.parts
    }
    assert {n.replace(".ipynb", ".html") for n in names} <= {
        p.relative_to(site).as_posix() for p in site.rglob("*.html")
    }
    assert (site / "searchindex.js").exists() and (
        site / "_static" / "mathjax" / "tex-svg.js"
    ).stat().st_size > 1e6
    assert not re.search(r'src="https?://[^"]*mathjax', (site / "fitter" / "laws.html").read_text())


def test_an_entry_is_plain_text_under_a_signature_without_links():
    text = """---

[source](https://github.com/x){target="_blank" style="float:right"}

### optimum

```python
def optimum(
    C, # a [`Task`](https://flops-fit.github.io/flops_fit/planner/contract.html#task)
    u:NoneType=None, # unique tokens
):
```

*The best `N*` and D for C.*
"""
    source = docs.entry("LawFit.optimum", text).source
    assert source.startswith('<a id="lawfit.optimum"></a>\n\n### optimum\n\n[source]')
    assert "C, # a `Task`\n" in source and "u=None" in source
    assert source.rstrip().endswith("```\n\nThe best `N*` and D for C.")


def test_code_that_a_page_does_not_echo_is_not_shown():
    kept = {"#| echo: false": ["remove-input"], "#| code-fold: true": ["hide-input"]}
    for first in ("#| echo: false", "#| code-fold: true", "#| output: true", "# echo: false"):
        cell = docs.shown(nbformat.v4.new_code_cell(f"{first}\nprint(1)"))
        assert cell.source.endswith("print(1)") and "|" not in cell.source
        assert cell.metadata.get("tags") == kept.get(first)


def test_a_page_that_shows_nothing_is_seen(tmp_path):
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(page, tmp_path / "silent.ipynb")
    assert docs.silent(tmp_path) == ["silent.ipynb"]
    page.cells[0].outputs = [nbformat.v4.new_output("stream", text="2")]
    nbformat.write(page, tmp_path / "silent.ipynb")
    assert docs.silent(tmp_path) == []


def test_api_pages_describe_what_they_export(site):
    page = (site / "planner" / "sweep_design.html").read_text()
    assert 'id="plan_sweep"' in page and "FLOPs of one run" in page
    assert "compute_budgets" in page and "{target=" not in page and "default_exp" not in page
    assert "&lt;a href" not in page and "NoneType" not in page


def test_no_page_shows_a_dead_widget(site):
    page = (site / "tutorials" / "quickstart.html").read_text()
    assert "widget-view" not in page and page.count("<img") > 4


def test_the_link_checker_sees_a_dead_link(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html">gone</a> <a href="a.html#here">x</a> <a href="#there">y</a><p id="here">'
    )
    assert docs.broken_links(tmp_path) == [("a.html", "b.html"), ("a.html", "#there")]


def test_a_page_wider_than_a_phone_is_seen(tmp_path):
    (tmp_path / "narrow.html").write_text(
        '<meta name="viewport" content="width=device-width"><p>short</p>'
    )
    (tmp_path / "wide.html").write_text(
        '<meta name="viewport" content="width=device-width"><p style="width:500px">long</p>'
    )
    bad = docs.too_wide(tmp_path)
    if bad is None:
        pytest.skip("no Chromium here (apt-get install -y chromium): pages are not measured")
    assert [page for page, _ in bad] == ["wide.html"]
