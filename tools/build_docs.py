"""The docs site, in _docs: nbdev's processing (API entries from docstrings and docments), rendered
by Sphinx with myst-nb.

`python tools/build_docs.py [--out _docs]`. Warnings are errors, and so are a link that leads
nowhere and a page with examples that shows no output. Needs no Quarto; MathJax is fetched once with
npm and kept in build/."""

import argparse, ast, os, re, shutil, subprocess, sys, tarfile
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse
import nbformat, yaml

root = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(root / "tools"))
from house import is_silent  # noqa: E402

SECTIONS = {  # caption -> pages, in reading order; a pattern takes all that is left
    "Tutorials": [
        "tutorials/quickstart",
        "tutorials/your_own_model",
        "tutorials/fit_published_runs",
        "tutorials/gpt_tinystories",
        "tutorials/vit_cifar",
        "tutorials/many_devices",
        "tutorials/*",
    ],
    "How-to": [
        "how_to/use_my_own_data",
        "how_to/fit_runs_i_have",
        "how_to/choose_the_next_runs",
        "how_to/resume_a_sweep",
        "how_to/count_flops_exactly",
        "how_to/train_in_less_memory",
        "how_to/compare_recipes",
        "how_to/limited_data_and_inference",
        "how_to/export_for_a_paper",
        "how_to/*",
    ],
    "Explanations": [
        "explanations/what_n_and_c_mean",
        "explanations/fits_and_intervals",
        "explanations/how_true_is_it",
        "explanations/designing_a_sweep",
        "explanations/*",
    ],
    "Examples that ship": ["examples/demo", "examples/*"],
    "Fitter: the law": ["fitter/*"],
    "Planner: the design of a sweep": ["planner/*"],
    "Trainer: the sweep itself": ["trainer/*"],
    "Plotter: what is looked at": ["plotter/*"],
    "The stones and the roof": ["*"],
}
CSS = """
h1, h2, h3, h4, h5, h6 { overflow-wrap: anywhere }  /* names longer than a phone is wide */
.cell_output td, .cell_output th { padding: .1em .6em; text-align: right }
.cell_output tr > :first-child { text-align: left }
/* ours are readable on dark */
html[data-theme=dark] .bd-content div.cell_output .text_html {
  background-color: transparent !important; color: inherit !important
}
"""
# Quarto's words for code that is not shown, or folded, and MyST's
TAGS = {
    r"(?m)^#\s*\|\s*echo:\s*false": "remove-input",
    r"(?m)^#\s*\|\s*code-fold:\s*true": "hide-input",
}
HOST = r"https://flops-fit\.github\.io/flops_fit/"


def sources(out):
    """A copy of the notebooks in which cells that mix imports with other code are not run: nbdev
    runs imports to find what is documented"""
    shutil.copytree(
        root / "nbs", out, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "outputs")
    )
    for path in out.rglob("*.ipynb"):
        nb = nbformat.read(path, 4)
        for cell in nb.cells:
            if cell.cell_type != "code" or re.search(r"^#\|\s*export", cell.source, re.M):
                continue
            try:
                kinds = {
                    isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(cell.source).body
                }
            except SyntaxError:
                kinds = {False}
            if kinds != {True} and "import" in cell.source:
                cell.source = "#| eval: false\n" + cell.source
        nbformat.write(nb, path)
    return out


def processed(src):
    "nbdev's processing: exported code becomes API entries, hidden cells go"
    from nbdev.serve import proc_nbs
    from nbdev.config import get_config

    shutil.rmtree(root / "_proc", ignore_errors=True)
    get_config()
    return Path(proc_nbs(str(src), force=True, n_workers=2))


def entry(name, text):
    """An API entry as a section of the page, under the name that links use. Its docstring is plain
    text, since `N*` in italics would end them; its signature has no links, which code cannot show,
    and no type that is only that of None."""
    text = re.sub(r"\{target=[^}]*\}", "", text)
    text = re.sub(r"^---\s+(\[source\]\([^)]*\))\s+(#+ [^\n]*)", r"\2\n\n\1", text)

    def signature(m):
        return re.sub(r"\[([^\]]*)\]\(https?:[^)]*\)", r"\1", m[0]).replace(":NoneType=", "=")

    text = re.sub(r"(?ms)^```.*?^```", signature, text)
    text = re.sub(r"(?ms)(^```\s+)\*(.*?)\*(?=\s*$)", r"\1\2", text, count=1)
    text = text.replace("Call self as a function.", "")
    return nbformat.v4.new_markdown_cell(f'<a id="{name.lower()}"></a>\n\n{text}')


def title(cell):
    "Front matter as a title and a line below it, or None"
    meta = yaml.safe_load(cell.source.strip().strip("-")) or {}
    if "title" not in meta:
        return None
    line = " ".join((meta.get("description") or "").split())
    return nbformat.v4.new_markdown_cell(f"# {meta['title']}" + (f"\n\n> {line}" if line else ""))


def shown(cell):
    "The cell as it is read, or None"
    if cell.cell_type == "raw":
        return title(cell)
    if cell.cell_type == "markdown":
        cell.source = re.sub(r"\{target=\S+?[^}]*\}", "", cell.source)
        return cell

    if tags := [tag for words, tag in TAGS.items() if re.search(words, cell.source)]:
        cell.metadata["tags"] = tags
    lines = [l for l in cell.source.splitlines() if not re.match(r"\s*#\s*\|", l)]
    cell.source = "\n".join(lines)
    if m := re.match(r"show_doc\(([\w.]+)", cell.source.strip()):
        texts = [o.get("data", {}).get("text/markdown", "") for o in cell.outputs]
        return entry(m[1], "\n".join(filter(None, texts)))
    return cell if cell.source.strip() or cell.outputs else None


def tidied(cells, where):
    """Cells that Sphinx takes: front matter as a title, no Quarto attributes, links to notebooks of
    our own as relative ones, one heading of the first order"""
    out, up = [c for c in map(shown, cells) if c is not None], "../" * where.count("/")
    prose = [c for c in out if c.cell_type == "markdown"]
    for i, c in enumerate(prose):
        c.source = local(c.source, up)
        lines, fenced, seen = c.source.splitlines(), False, i > 0
        for j, l in enumerate(lines):
            if l.startswith("```"):
                fenced = not fenced
            elif not fenced and l.startswith("# "):
                if seen:
                    lines[j] = "#" + l
                seen = True
        c.source = "\n".join(lines)
    return out


def local(text, up):
    """Links to our own site become links to its pages; plain HTML, since the anchors of API entries
    are"""

    def code(t):
        return f"<code>{escape(t[1:-1])}</code>" if t.startswith("`") else escape(t)

    def page(m):
        return f'<a href="{up}{m[2]}{m[3] or ""}">{code(m[1])}</a>'

    def notebook(m):
        return f"]({m[1]}{m[2]}{m[3]}.ipynb{m[4] or ''})"

    text = re.sub(rf"\[([^\]]*)\]\({HOST}([\w/.-]*?\.html)(#[^)]*)?\)", page, text)
    own = r"\]\((?!https?:)((?:\.\./)*)([\w/]*?)(?:\d+[a-z]?_)?(\w+)\.(?:html|ipynb)(#[^)]*)?\)"
    return re.sub(own, notebook, text)


def plain(name):
    return re.sub(r"^\d+[a-z]?_", "", name)  # 02_laws is published as laws


def pages(src):
    got = sorted(p.relative_to(src).with_suffix("").as_posix() for p in src.rglob("*.ipynb"))
    got.remove("index")
    nbs = root / "nbs"
    order = {
        p.with_name(plain(p.stem)).relative_to(nbs).as_posix(): p.stem
        for p in nbs.rglob("[0-9]*.ipynb")
    }
    got = sorted(got, key=lambda g: order.get(g, g))
    out = {}
    for caption, wanted in SECTIONS.items():
        out[caption] = []
        for pattern in wanted:
            out[caption] += [
                g
                for g in got
                if Path(g).match(pattern)
                and ("/" in g) == ("/" in pattern)
                and g not in out[caption]
            ]
    if left := set(got) - {g for gs in out.values() for g in gs}:
        raise SystemExit(
            (
                f"no section of the docs holds {sorted(left)}: add it to SECTIONS in "
                "tools/build_docs.py"
            )
        )
    return out


def silent(folder):
    "Pages with examples that were kept without their outputs"
    found = sorted(folder.rglob("*.ipynb"))
    return [p.relative_to(folder).as_posix() for p in found if is_silent(nbformat.read(p, 4))]


def prepare(proc, src):
    "The Sphinx source folder"
    shutil.rmtree(src, ignore_errors=True)
    shutil.copytree(proc, src, ignore=shutil.ignore_patterns("*.yml"))
    if (root / "nbs" / "images").exists():
        shutil.copytree(root / "nbs" / "images", src / "images", dirs_exist_ok=True)
    for path in [*src.rglob("[0-9]*.ipynb")]:
        path.rename(path.with_name(plain(path.name)))
    for path in src.rglob("*.ipynb"):
        nb = nbformat.read(path, 4)
        nb.cells = tidied(nb.cells, path.relative_to(src).as_posix())
        nb.metadata.pop("widgets", None)
        nbformat.write(nb, path)
    anchors = {
        (p.relative_to(src).with_suffix("").as_posix(), i)
        for p in src.rglob("*.ipynb")
        for i in re.findall(r'<a id=\\"([^"\\]+)', p.read_text(encoding="utf-8"))
    }
    for path in src.rglob(
        "*.ipynb"
    ):  # a method without an entry of its own is described with its class
        here = path.parent.relative_to(src)
        known = lambda page, i: (os.path.normpath(here / page), i) in anchors
        path.write_text(
            re.sub(
                r'(href=\\"([\w/.-]+?)\.html#([\w]+))\.([\w.]+)',
                lambda m: m[0] if known(m[2], f"{m[3]}.{m[4]}") else m[1],
                path.read_text(encoding="utf-8"),
            ),
            encoding="utf-8",
        )
    home = nbformat.read(src / "index.ipynb", 4)
    trees = "\n\n".join(
        "```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(names) + "\n```"
        for caption, names in pages(src).items()
        if names
    )
    home.cells.append(nbformat.v4.new_markdown_cell(trees))
    nbformat.write(home, src / "index.ipynb")
    shutil.copy(root / "tools" / "docs_conf.py", src / "conf.py")
    mathjax(src / "_static" / "mathjax")
    (src / "_static" / "flops_fit.css").write_text(CSS)


def mathjax(to):
    "MathJax 3 in one file (version 4 clips glyphs), from npm, kept in build/ for the next time"
    kept = root / "build" / "mathjax" / "tex-svg.js"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        npm = shutil.which("npm")
        done = npm and subprocess.run(
            [npm, "pack", "mathjax@3", "--silent"], cwd=kept.parent, capture_output=True, text=True
        )
        if not done or done.returncode:
            raise SystemExit(
                (
                    "MathJax is needed for formulas and npm cannot fetch it "
                    f"({done.stderr.strip()[-200:] if done else 'npm is not installed'}). Put "
                    f"es5/tex-svg.js of mathjax@3 at {kept}."
                )
            )
        with tarfile.open(next(kept.parent.glob("mathjax-*.tgz"))) as t:
            kept.write_bytes(t.extractfile("package/es5/tex-svg.js").read())
    to.mkdir(parents=True, exist_ok=True)
    shutil.copy(kept, to / "tex-svg.js")


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.ids = [], set()

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if "id" in a:
            self.ids.add(a["id"])
        if tag == "a" and a.get("name"):
            self.ids.add(a["name"])
        link = (
            a.get("href")
            if tag in ("a", "link")
            else a.get("src")
            if tag in ("img", "script")
            else None
        )
        if link:
            self.links.append(link)


def broken_links(site):
    "(page, link) for every link inside the site that leads nowhere"
    seen = {}
    for page in site.rglob("*.html"):
        if "_static" in page.parts:
            continue
        seen[page.resolve()] = p = _Links()
        p.feed(page.read_text(encoding="utf-8"))
    bad = []
    for page, p in seen.items():
        for link in p.links:
            u = urlparse(link)
            if u.scheme or u.netloc:
                continue
            target = (page.parent / unquote(u.path)).resolve() if u.path else page
            if not target.exists():
                bad.append((page.relative_to(site.resolve()).as_posix(), link))
            elif u.fragment and target in seen and unquote(u.fragment) not in seen[target].ids:
                bad.append((page.relative_to(site.resolve()).as_posix(), link))
    return bad


def too_wide(site, width=390):
    """(page, its width) for every page that a phone would have to scroll sideways; None where there
    is no browser to tell"""
    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    with sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], timeout=60_000
        )
        page, bad = browser.new_page(viewport=dict(width=width, height=844)), []
        for f in sorted(site.rglob("*.html")):
            if "_static" in f.parts:
                continue
            page.goto(f.resolve().as_uri(), timeout=60_000)
            if (w := page.evaluate("document.documentElement.scrollWidth")) > width:
                bad.append((f.relative_to(site).as_posix(), w))
        browser.close()
    return bad


def build(out=root / "_docs"):
    if bad := silent(root / "nbs"):
        raise SystemExit(f"pages without outputs: {', '.join(bad)}. Run tools/execute.py on them")
    work = root / "build" / "docs"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    prepare(processed(sources(work / "nbs")), work / "src")
    shutil.rmtree(root / "_proc", ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-q",
            "-b",
            "html",
            str(work / "src"),
            str(out),
        ],
        env={**os.environ, "FLOPS_FIT_ROOT": str(root)},
    )
    if done.returncode:
        raise SystemExit("the docs have warnings: see above")
    shutil.rmtree(out / ".doctrees", ignore_errors=True)
    (out / ".nojekyll").touch()
    if bad := broken_links(out):
        raise SystemExit(
            "links that lead nowhere:\n" + "\n".join(f"  {page}: {link}" for page, link in bad)
        )
    wide = too_wide(out)
    if wide:
        raise SystemExit(
            "pages wider than a phone (390 px):\n"
            + "\n".join(f"  {page}: {w} px" for page, w in wide)
        )
    print(
        f"{len(list(out.rglob('*.html')))} pages in {out}, every link alive, "
        + ("none wider than a phone" if wide == [] else "widths not looked at: no Chromium here")
    )
    return out


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--out", type=Path, default=root / "_docs", help="where the site goes")
    build(ap.parse_args().out)
