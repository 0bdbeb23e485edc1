"""Run notebooks with a fresh kernel and keep their outputs: `python tools/execute.py
nbs/tutorials/quickstart.ipynb ...`.
Live widgets are dropped from what is saved, since without a kernel they are dead: the picture
and numbers beside them stay."""

import re, sys
from pathlib import Path
import nbformat
from nbclient import NotebookClient


def execute(path):
    path = Path(path).resolve()
    nb = nbformat.read(path, 4)
    NotebookClient(
        nb, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    nb.metadata.pop("widgets", None)
    for cell in nb.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        for o in cell.outputs:
            data = o.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if "text/plain" in data:
                data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", data["text/plain"])
        cell.outputs = [
            o
            for o in cell.outputs
            if not (
                o.output_type in ("display_data", "execute_result")
                and set(o.data) == {"text/plain"}
                and o.data["text/plain"].startswith(("HBox(", "VBox("))
            )
        ]
    nbformat.write(nb, path)


if __name__ == "__main__":
    for p in sys.argv[1:]:
        print(p)
        execute(p)
    from nbdev.clean import nbdev_clean

    for p in sys.argv[1:]:
        nbdev_clean.__wrapped__(p) if hasattr(nbdev_clean, "__wrapped__") else nbdev_clean(p)
