"""What a power cut may leave of a folder, rebuilt from a record of all that was done to it.

The disk that is modelled promises what POSIX and journaling file systems do, and no more:

- A file's content is safe once the file was synced. Before that it may be gone (empty, or what was
  last synced), torn (half of it), or there.
- A name that was made or taken away (create, mkdir, link, unlink, rmdir, rename) is safe once its
  folder was synced. Before that each may have come about without the others, in any order.
- A rename is one step for its two folders: the old name is never gone without the new one there.
  While only the new name's folder was synced, the file may be found under both.
"""

import os
import time
from dataclasses import dataclass

from faults.injection import Tap, real_open


class File:
    "A file, whatever its name, and its content after each time that something was written to it."

    def __init__(self):
        self.versions = [b""]


class Folder:
    "A folder, whatever its name."


@dataclass(eq=False)
class Op:
    "One thing that was done."

    what: str  # "enter", "leave" (a name), "data", "sync" (of a file or folder), or "said"
    node: object = None  # the file or folder that it was done to
    folder: Folder = None  # where the name is
    name: str = ""
    moved: object = None  # of a "leave" that is half of a rename: the other half
    version: int = 0  # of a file's content
    note: object = None  # of what was said


class Recorder(Tap):
    "Records what is done to a folder, which is empty now."

    def __init__(self, folder):
        super().__init__(folder)
        self.root, self.ops = Folder(), []
        self.nodes = {self.folder: self.root}  # path -> what is there now

    def say(self, note):
        "Add a note: what has been promised by now."
        with self.lock:
            self.ops.append(Op("said", note=note))

    def call(self, kind, paths, act, data=None):
        with self.lock:
            known = paths[-1] in self.nodes
            answer = act()
            getattr(self, f"on_{kind}")(paths, known, data)
        return answer

    def on_open(self, paths, known, flags):
        (path,) = paths
        if not known and flags & os.O_CREAT:
            self._enter(path, File())
        elif known and flags & os.O_TRUNC:
            self._data(path)

    def on_write(self, paths, known, data):
        if known:  # else the file has no name any more
            self._data(paths[0])

    def on_save_file(self, paths, known, data):
        if not known:
            self._enter(paths[0], File())
        self._data(paths[0])

    def on_fsync(self, paths, known, data):
        node = self.nodes.get(paths[0])
        if isinstance(node, File):
            self._data(paths[0])  # what went through a file object, which writes past us
            self.ops.append(Op("sync", node, version=len(node.versions) - 1))
        elif node is not None:
            self.ops.append(Op("sync", node))

    def on_mkdir(self, paths, known, data):
        self._enter(paths[0], Folder())

    def on_unlink(self, paths, known, data):
        self._leave(paths[0])

    on_rmdir = on_unlink

    def on_utime(self, paths, known, data):
        pass

    def on_link(self, paths, known, data):
        self._enter(paths[1], self.nodes[paths[0]])

    def on_rename(self, paths, known, data):
        old, new = paths
        node = self.nodes[old]
        below = {p: n for p, n in self.nodes.items() if p.startswith(old + os.sep)}
        self.nodes = {p: n for p, n in self.nodes.items() if p not in below}

        self._enter(new, node)
        self._leave(old, self.ops[-1])
        self.nodes.update({new + p[len(old) :]: n for p, n in below.items()})
        for path in (new, *(new + p[len(old) :] for p in below)):
            self._data(path)

    def _enter(self, path, node):
        folder, name = os.path.split(path)
        self.nodes[path] = node
        self.ops.append(Op("enter", node, self.nodes[folder], name))

    def _leave(self, path, moved=None):
        folder, name = os.path.split(path)
        self.ops.append(Op("leave", self.nodes.pop(path), self.nodes[folder], name, moved))

    def _data(self, path):
        "Note what a file holds now."
        node = self.nodes[path]
        if isinstance(node, Folder):
            return

        with real_open(path, "rb") as f:
            content = f.read()
        if node.versions[-1] != content:
            node.versions.append(content)
            self.ops.append(Op("data", node, version=len(node.versions) - 1))


class Cut:
    "The power goes after `ops`. What is safe, what is not, and what there may be to find."

    def __init__(self, root, ops):
        self.root = root
        self.names = [op for op in ops if op.what in ("enter", "leave")]
        self.latest = {op.node: op.version for op in ops if op.what == "data"}
        self.synced = {op.node: op.version for op in ops if op.what == "sync"}
        self.promised = [op.note for op in ops if op.what == "said"]
        self.safe = self._safe(ops)
        self.open = [op for op in self.names if op not in self.safe]
        self.dirty = [f for f, v in self.latest.items() if self.synced.get(f, 0) < v]

    def _safe(self, ops):
        "Names of which the folder was synced afterwards; with a rename's one half goes the other."
        out, synced = set(), set()
        for op in reversed(ops):
            if op.what == "sync":
                synced.add(op.node)
            elif op.folder in synced:
                out.add(op)
        return out | {op.moved for op in out if op.moved is not None}

    def states(self):
        "(what happened, {path: content, None for a folder}) for every state that is told apart."
        everything, seen = set(self.names), set()
        for told, names, contents in self._choices(everything):
            tree = self._tree(names, contents)
            key = frozenset(tree.items())
            if key not in seen:
                seen.add(key)
                yield told, tree

    def _choices(self, everything):
        "(what happened, names that came about, {file: how its unsynced content fared})."
        for fate in ("kept", "torn", "gone"):
            yield f"all names, contents {fate}", everything, dict.fromkeys(self.dirty, fate)
        for file in self.dirty:
            for fate in ("torn", "gone"):
                yield f"all but a content {fate}", everything, {file: fate}

        yield "nothing", self.safe, dict.fromkeys(self.dirty, "gone")
        for op in self.open:
            told = f"{op.what} {op.name}"
            without = {o for o in everything if o is not op and o.moved is not op}
            alone = self.safe | {op} | ({op.moved} if op.moved else set())
            yield f"all but {told}", without, {}
            for fate in ("kept", "torn", "gone"):
                yield f"{told} alone, contents {fate}", alone, dict.fromkeys(self.dirty, fate)

    def _tree(self, names, contents):
        entries = {}
        for op in self.names:
            if op not in names:
                continue
            here = entries.setdefault(op.folder, {})
            if op.what == "enter":
                here[op.name] = op.node
            elif here.get(op.name) is op.node:
                del here[op.name]

        out = {}
        self._walk(self.root, "", entries, contents, out)
        return out

    def _walk(self, folder, path, entries, contents, out):
        for name, node in entries.get(folder, {}).items():
            here = f"{path}/{name}" if path else name
            if isinstance(node, File):
                out[here] = self._content(node, contents.get(node, "kept"))
            else:
                out[here] = None
                self._walk(node, here, entries, contents, out)

    def _content(self, file, fate):
        latest = file.versions[self.latest.get(file, 0)]
        if fate == "kept":
            return latest
        if fate == "torn":
            return latest[: len(latest) // 2]
        return file.versions[self.synced.get(file, 0)]


LONG_AGO = 3600  # seconds: a machine that lost its power has been away for a while


def build(tree, folder):
    "Make a folder as a tree says."
    folder.mkdir()
    when = time.time() - LONG_AGO
    for path, content in tree.items():
        if content is None:
            (folder / path).mkdir(exist_ok=True)
        else:
            (folder / path).write_bytes(content)

    for path in tree:
        os.utime(folder / path, (when, when))
