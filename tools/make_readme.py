"""README.md from nbs/index.ipynb: markdown as it is, code in fences, text output below it; pictures
by their path from the top level."""

import re
from pathlib import Path
import nbformat

root = Path(__file__).resolve().parents[1]


def readme(path=root / "nbs" / "index.ipynb"):
    out = ["<!-- made from nbs/index.ipynb by `make readme`: edit that -->"]
    for cell in nbformat.read(path, 4).cells:
        hidden = cell.cell_type == "raw" or re.match(r"#\|\s*(hide|default_exp)", cell.source)
        if hidden or not cell.source.strip():
            continue
        if cell.cell_type == "markdown":
            out.append(re.sub(r"\]\((?!https?:|#|/)(?!nbs/)", "](nbs/", cell.source))
            continue
        source = "\n".join(l for l in cell.source.splitlines() if not l.startswith("#|"))
        out.append(f"```python\n{source}\n```")
        for o in cell.outputs:
            data = o.get("data", {})
            if "text/markdown" in data:
                out.append(data["text/markdown"])
            elif o.output_type == "stream" and o.name == "stdout":
                out.append(f"```\n{o.text.rstrip()}\n```")
            elif "text/plain" in data and "text/html" not in data:
                out.append(f"```\n{data['text/plain']}\n```")
    return "\n\n".join(out) + "\n"


if __name__ == "__main__":
    (root / "README.md").write_text(readme(), encoding="utf-8")
