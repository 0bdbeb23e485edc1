"Sphinx settings of the docs site, used by tools/build_docs.py"

import configparser, os
from pathlib import Path

cfg = configparser.ConfigParser(delimiters=["="])
cfg.read(Path(os.environ["FLOPS_FIT_ROOT"]) / "settings.ini", encoding="utf-8")
cfg = cfg["DEFAULT"]
project, author, version, release = cfg["lib_name"], cfg["author"], cfg["version"], cfg["version"]
copyright = cfg["copyright"]
extensions = ["myst_nb", "sphinx.ext.mathjax"]
html_theme, html_title = "sphinx_book_theme", cfg["title"]
html_theme_options = dict(
    navbar_persistent=[],
    repository_url=cfg["git_url"],
    repository_branch=cfg["branch"],
    path_to_docs="nbs",
    use_repository_button=True,
    use_download_button=False,
    home_page_in_toc=True,
    show_navbar_depth=1,
    launch_buttons=dict(colab_url="https://colab.research.google.com"),
)
html_static_path = ["_static"]
html_css_files = ["flops_fit.css"]
html_show_sourcelink = False
html_last_updated_fmt = None
mathjax_path = "mathjax/tex-svg.js"  # our own copy: math without a CDN
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "html_image"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks are shown as they were run
nb_mime_priority_overrides = [
    ("*", "application/vnd.jupyter.widget-view+json", None)
]  # a widget without a kernel is a dead slider: show its picture
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]
exclude_patterns = ["_build"]
