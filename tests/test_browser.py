"The tutorials and the explorers as a person meets them: JupyterLab in a headless Chromium."
import json, os, re, shutil, socket, subprocess, sys, time, urllib.request
from pathlib import Path
import nbformat, pytest

if os.environ.get("FLOPS_FIT_BROWSER") != "1": pytest.skip("a browser takes minutes: `make browser` runs these", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (apt-get install -y chromium): the notebooks are not opened in a browser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]

EXPLORERS = """
from flops_fit.core import *
import torch, torch.nn as nn, torch.nn.functional as F
class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 2))
    def forward(self, x): return self.layers(x)
    def num_params(self): return sum(p.numel() for p in self.parameters())
x = torch.randn(20_000, 16)
task = make_task(Net, "width", dataset=(x, (x[:, 0] > 0).long()), loss_fn=F.cross_entropy)
plan = plan_sweep(task, compute_budgets=[1e8, 2e8, 4e8], sizes=[8, 16, 32], recipe=Recipe(batch_tokens=64, min_steps=50))
result = Result.from_sweep(plan, TrainingRunner("mock", "mock", progress=False).run_sweep(plan))
---
plan.explore(task)
---
result.explore()
---
result.analysis.explore()
---
TrainingRunner(output_dir="sweep", progress=False).monitor(plan, task, every=.5)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "A JupyterLab of its own on a copy of the tutorials: its address and folder"
    home = tmp_path_factory.mktemp("lab")
    work = home/"main"/"nbs"
    shutil.copytree(ROOT/"nbs"/"tutorials", work/"tutorials")
    shutil.copytree(ROOT/"benchmarks"/"results", home/"main"/"benchmarks"/"results", ignore=lambda d, names: [n for n in names if (Path(d)/n).is_file() and (Path(d)/n).stat().st_size > 1e6])
    if (ROOT.parent/"shared").exists(): (home/"shared").symlink_to(ROOT.parent/"shared")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c.strip()) for c in EXPLORERS.split("---")], metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python"))), work/"explorers.ipynb")
    settings = home/"s"/"@jupyterlab"/"notebook-extension"     # every cell in the page, also those out of sight
    settings.mkdir(parents=True)
    (settings/"tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with socket.socket() as s: s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
    env = {**os.environ, **{f"JUPYTER_{k}_DIR": str(home/k) for k in ("CONFIG", "DATA", "RUNTIME")}, "JUPYTERLAB_SETTINGS_DIR": str(home/"s"), "JUPYTERLAB_WORKSPACES_DIR": str(home/"w")}
    args = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--IdentityProvider.token=", "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", f"--ServerApp.root_dir={work}"]
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *args], env=env, stdout=subprocess.DEVNULL, stderr=open(home/"log", "w"))
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try: urllib.request.urlopen(url + "/api", timeout=2); break
            except OSError: time.sleep(.5)
        else: pytest.fail("JupyterLab did not start: " + (home/"log").read_text()[-800:])
        yield url, work
    finally:
        server.terminate(); server.wait(20)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield b
        b.close()


def run_all(browser, lab, path, seconds):
    "Open a notebook, run all its cells, wait for the kernel to be idle; gives the page. No cell may end in an error."
    page = browser.new_page(viewport=dict(width=1300, height=1000))
    page.goto(f"{lab[0]}/lab/tree/{path}?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
    idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
    page.wait_for_selector(idle, timeout=90_000, state="attached")
    page.get_by_role("menuitem", name="Edit", exact=True).first.click()
    page.get_by_role("menuitem", name="Clear Outputs of All Cells", exact=True).click()
    page.get_by_role("menuitem", name="Run", exact=True).first.click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    end, still = time.monotonic() + seconds, 0
    while time.monotonic() < end and still < 4:      # through: some cells are numbered, none waits, the kernel is idle, and all that for two seconds
        page.wait_for_timeout(500)
        prompts = page.evaluate("[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.textContent)")
        done = any(re.search(r"\d", t) for t in prompts) and not any("*" in t for t in prompts) and page.locator(idle).count()
        still = still + 1 if done else 0
    if still < 4: pytest.fail(f"{path} was not through after {seconds} s")
    return page


def picture(page, n):
    "What the n-th cell shows: its image, its text"
    return page.evaluate("""n => { const o = document.querySelectorAll('.jp-CodeCell')[n].querySelector('.jp-OutputArea');
        return [[...o.querySelectorAll('img')].map(i => i.src).join(), o.innerText] }""", n)


def changed(page, n, before, seconds=20):
    "Wait until numbers and picture of the n-th cell are others than before"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = picture(page, n)
        if now[0] and now[0] != before[0] and now[1] != before[1]: return now
        page.wait_for_timeout(100)
    pytest.fail(f"cell {n}: numbers {'changed' if now[1] != before[1] else 'stayed'}, picture {'changed' if now[0] != before[0] else 'stayed'}")


def test_explorers_answer_to_the_keyboard(browser, lab):
    page = run_all(browser, lab, "explorers.ipynb", 120)
    for n in (1, 2):
        before = picture(page, n)
        handle = page.locator(".jp-CodeCell").nth(n).locator(".noUi-handle").first
        handle.focus()
        for _ in range(3): page.keyboard.press("ArrowRight")
        changed(page, n, before)
    before = picture(page, 3)                       # a run is ticked off with the space bar
    page.locator(".jp-CodeCell").nth(3).locator("input[type=checkbox]").first.focus()
    page.keyboard.press("Space")
    changed(page, 3, before)
    before = picture(page, 4)                       # the sweep is started with Enter
    page.locator(".jp-CodeCell").nth(4).get_by_role("button", name="Start or resume").focus()
    page.keyboard.press("Enter")
    changed(page, 4, before, 60)
    for _ in range(240):
        if "9 of 9 runs" in picture(page, 4)[1]: break
        page.wait_for_timeout(500)
    assert "completed" in picture(page, 4)[1]
    if shots := os.environ.get("FLOPS_FIT_SCREENSHOTS"):
        Path(shots).mkdir(parents=True, exist_ok=True)
        for n in range(1, 5): page.locator(".jp-CodeCell").nth(n).scroll_into_view_if_needed(); page.wait_for_timeout(500); page.screenshot(path=f"{shots}/explorer{n}.png")
    page.close()


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT/"nbs"/"tutorials").glob("*.ipynb")))
def test_tutorial_runs_in_the_browser(browser, lab, name):
    page = run_all(browser, lab, f"tutorials/{name}.ipynb", 240)
    page.keyboard.press("Control+s")
    for _ in range(40):                              # what was saved tells of errors better than what is scrolled into view
        page.wait_for_timeout(250)
        cells = json.loads((lab[1]/"tutorials"/f"{name}.ipynb").read_text())["cells"]
        if page.locator(".jp-mod-dirty").count() == 0: break
    bad = [f"{''.join(c['source'])[:300]}\n{o['ename']}: {o['evalue']}" for c in cells for o in c.get("outputs", []) if o["output_type"] == "error"]
    assert not bad, bad
    assert any("image/png" in o.get("data", {}) or "<img" in "".join(o.get("data", {}).get("text/html", "")) for c in cells for o in c.get("outputs", []))
    page.close()
