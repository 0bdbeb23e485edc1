"""The tutorials and the explorers as a person meets them: JupyterLab in a headless Chromium, two
notebooks at a time.
Whatever happens, this file ends within five minutes: every wait has a limit, at the end of the time
the browser is closed under those
that still wait, and the server lives only as long as this process."""

import faulthandler, json, os, re, shutil, socket, subprocess, sys, threading, time, urllib.request
from pathlib import Path
import nbformat, pytest

if os.environ.get("FLOPS_FIT_BROWSER") != "1":
    pytest.skip("a browser takes minutes: `make browser` runs these", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(
    (p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason=(
        "no Chromium here (apt-get install -y chromium): the notebooks are not opened in a browser"
    ),
)
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TUTORIALS = sorted(p.stem for p in (ROOT / "nbs" / "tutorials").glob("*.ipynb"))
CHOOSE = ".jp-Dialog:has-text('Select Kernel') .jp-mod-accept"
BEGUN, LIMIT, SPARE = (
    time.monotonic(),
    1500,
    15,
)  # seconds for everything, and of them those kept for closing down


def left(most):
    return max(1.0, min(most, BEGUN + LIMIT - SPARE - time.monotonic()))


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
plan = plan_sweep(task, compute_budgets=[1e8, 2e8, 4e8], sizes=[8, 16, 32],
                  recipe=Recipe(batch_tokens=64, min_steps=50))
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

# runs a command until standard input ends, which it does when this process is gone, however it went
GUARD = """
import subprocess, sys
p = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
sys.stdin.read()
p.terminate()
try: p.wait(8)
except subprocess.TimeoutExpired: p.kill()
"""


@pytest.fixture(scope="module", autouse=True)
def end_in_time():
    """Close the browser when time is up: all who wait for it get an error. If even that does not
    help, end this process and say where it was."""
    import psutil

    def close():
        for p in psutil.Process().children(recursive=True):
            try:
                if "chrom" in p.name():
                    p.kill()
            except psutil.Error:
                pass

    timer = threading.Timer(BEGUN + LIMIT - SPARE - time.monotonic(), close)
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(max(1.0, BEGUN + LIMIT - time.monotonic()), exit=True)
    yield
    timer.cancel()
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of its own on a copy of the tutorials, without their outputs: its address and
    folder"""
    home = tmp_path_factory.mktemp("lab")
    work = home / "main" / "nbs"
    shutil.copytree(
        ROOT / "benchmarks" / "results",
        home / "main" / "benchmarks" / "results",
        ignore=lambda d, names: [
            n for n in names if (Path(d) / n).is_file() and (Path(d) / n).stat().st_size > 1e6
        ],
    )
    if (ROOT.parent / "shared").exists():
        (home / "shared").symlink_to(ROOT.parent / "shared")
    (work / "tutorials").mkdir(parents=True)
    for name in TUTORIALS:
        nb = nbformat.read(ROOT / "nbs" / "tutorials" / f"{name}.ipynb", 4)
        for c in nb.cells:
            if c.cell_type == "code":
                c.outputs, c.execution_count = [], None
        nbformat.write(nb, work / "tutorials" / f"{name}.ipynb")
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(c.strip()) for c in EXPLORERS.split("---")],
            metadata=dict(
                kernelspec=dict(name="python3", display_name="python3", language="python")
            ),
        ),
        work / "explorers.ipynb",
    )
    settings = (
        home / "s" / "@jupyterlab" / "notebook-extension"
    )  # every cell in the page, also those out of sight
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    (home / "s" / "@jupyterlab" / "apputils-extension").mkdir()
    (
        home / "s" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    ).write_text('{"fetchNews": "false"}')
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {
        **os.environ,
        **{f"JUPYTER_{k}_DIR": str(home / k) for k in ("CONFIG", "DATA", "RUNTIME")},
        "JUPYTERLAB_SETTINGS_DIR": str(home / "s"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "w"),
    }
    args = [
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--IdentityProvider.token=",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        f"--ServerApp.root_dir={work}",
    ]
    with open(home / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", GUARD, sys.executable, "-m", "jupyterlab", *args],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + left(300)
    try:
        while True:
            try:
                urllib.request.urlopen(url + "/api", timeout=2)
                break
            except OSError:
                time.sleep(0.3)
            if time.monotonic() > end or server.poll() is not None:
                pytest.fail("JupyterLab did not start: " + (home / "log").read_text()[-800:])
        yield url, work
    finally:
        server.stdin.close()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


class Lanes:
    "Runs notebooks to their end, two at a time, in the order they will be asked for"

    def __init__(self, browser, lab, paths, seconds=900):
        self.browser, self.lab, self.waiting, self.seconds, self.running, self.ended = (
            browser,
            lab,
            list(paths),
            seconds,
            {},
            {},
        )

    def page(self, path):
        "The page of a notebook all of whose cells were run"
        while path not in self.ended:
            while self.waiting and len(self.running) < 2:
                p = self.waiting.pop(0)
                try:
                    self.running[p] = [
                        self._open(p),
                        time.monotonic() + left(self.seconds),
                        0,
                        time.monotonic() + 5,
                    ]
                except (playwright.Error, OSError) as e:
                    self.ended[p] = e
            for p in [*self.running]:
                self._look(p)
            time.sleep(0.2)
        if isinstance(self.ended[path], Exception):
            pytest.fail(f"{path}: {self.ended[path]}")
        return self.ended[path]

    def _open(self, path):
        page = self.browser.new_page(viewport=dict(width=1300, height=1000))
        page.set_default_timeout(left(300) * 1000)
        page.goto(f"{self.lab[0]}/lab/workspaces/{Path(path).stem}/tree/{path}?reset")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        end = time.monotonic() + left(300)
        while (
            not self._listening(path) and time.monotonic() < end
        ):  # cells that are run before there is a kernel bring up a dialog
            page.wait_for_timeout(200)
            if page.locator(CHOOSE).count():
                page.locator(CHOOSE).click()
        page.wait_for_selector(
            ".jp-Notebook-ExecutionIndicator[data-status=idle]", state="attached"
        )
        self._start(page)
        return page

    def _listening(self, path):
        with urllib.request.urlopen(self.lab[0] + "/api/sessions", timeout=10) as r:
            return any(
                s["path"] == path and s["kernel"]["execution_state"] == "idle" for s in json.load(r)
            )

    def _start(self, page):
        if page.locator(CHOOSE).count():
            page.locator(CHOOSE).click()
        page.get_by_role("menuitem", name="Run", exact=True).first.click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    def _look(self, path):
        """Through is a notebook some of whose cells are numbered while none waits and the kernel is
        idle, five times in a row"""
        lane = page, end, still, again = self.running[path]
        try:
            prompts, idle = page.evaluate(
                (
                    "[[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => "
                    "e.textContent), "
                    "!!document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')]"
                )
            )
            if (
                idle
                and not any(re.search(r"[\d*]", t) for t in prompts)
                and time.monotonic() > again
            ):
                self._start(page)
                lane[3] += 5  # the kernel was not listening yet
        except playwright.Error as e:
            self.ended[path] = e
        else:
            lane[2] = (
                still + 1
                if idle
                and any(re.search(r"\d", t) for t in prompts)
                and not any("*" in t for t in prompts)
                else 0
            )
            if lane[2] >= 5:
                self.ended[path] = page
            elif time.monotonic() > end:
                self.ended[path] = TimeoutError(
                    f"not through in time; cells are numbered {prompts}"
                )
        if path in self.ended:
            del self.running[path]


@pytest.fixture(scope="module")
def lanes(lab):
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=left(300) * 1000)
        yield Lanes(browser, lab, ["explorers.ipynb", *(f"tutorials/{n}.ipynb" for n in TUTORIALS)])
        try:
            browser.close()
        except playwright.Error:
            pass  # closed already, since time was up


def picture(page, n):
    "What the n-th cell shows: its image, its text"
    return page.evaluate(
        """n => { const cell = document.querySelectorAll('.jp-CodeCell')[n];
                  const o = cell.querySelector('.jp-OutputArea');
        return [[...o.querySelectorAll('img')].map(i => i.src).join(), o.innerText] }""",
        n,
    )


def changed(page, n, before, seconds=120):
    "Wait until numbers and picture of the n-th cell are others than before"
    end = time.monotonic() + left(seconds)
    while time.monotonic() < end:
        now = picture(page, n)
        if now[0] and now[0] != before[0] and now[1] != before[1]:
            return now
        page.wait_for_timeout(100)
    pytest.fail(
        (
            f"cell {n}: numbers {'changed' if now[1] != before[1] else 'stayed'}, picture "
            f"{'changed' if now[0] != before[0] else 'stayed'}"
        )
    )


def test_explorers_answer_to_the_keyboard(lanes):
    page = lanes.page("explorers.ipynb")
    for n in (1, 2):
        before = picture(page, n)
        handle = page.locator(".jp-CodeCell").nth(n).locator(".noUi-handle").first
        handle.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        changed(page, n, before)
    before = picture(page, 3)  # a run is ticked off with the space bar
    page.locator(".jp-CodeCell").nth(3).locator("input[type=checkbox]").first.focus()
    page.keyboard.press("Space")
    changed(page, 3, before)
    before = picture(page, 4)  # the sweep is started with Enter
    page.locator(".jp-CodeCell").nth(4).get_by_role("button", name="Start or resume").focus()
    page.keyboard.press("Enter")
    changed(page, 4, before, 60)
    end = time.monotonic() + left(300)
    while "9 of 9 runs" not in picture(page, 4)[1] and time.monotonic() < end:
        page.wait_for_timeout(300)
    assert "9 of 9 runs" in (text := picture(page, 4)[1]) and "completed" in text
    if shots := os.environ.get("FLOPS_FIT_SCREENSHOTS"):
        Path(shots).mkdir(parents=True, exist_ok=True)
        for n in range(1, 5):
            page.locator(".jp-CodeCell").nth(n).scroll_into_view_if_needed()
            page.wait_for_timeout(500)
            page.screenshot(path=f"{shots}/explorer{n}.png")
    page.close()


@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorial_runs_in_the_browser(lanes, lab, name):
    page = lanes.page(f"tutorials/{name}.ipynb")
    page.keyboard.press("Control+s")
    for _ in range(60):  # what was saved tells of errors better than what is scrolled into view
        page.wait_for_timeout(250)
        cells = json.loads((lab[1] / "tutorials" / f"{name}.ipynb").read_text())["cells"]
        if page.locator(".jp-mod-dirty").count() == 0 and any(c.get("outputs") for c in cells):
            break
    bad = [
        f"{''.join(c['source'])[:300]}\n{o['ename']}: {o['evalue']}"
        for c in cells
        for o in c.get("outputs", [])
        if o["output_type"] == "error"
    ]
    assert not bad, bad
    shown = [o.get("data", {}) for c in cells for o in c.get("outputs", [])]
    assert any(
        "image/png" in d
        or "<img" in "".join(d.get("text/html", ""))
        or "<table" in "".join(d.get("text/html", ""))
        for d in shown
    )
    page.close()
