"""A disk that fails at a call of our choice.

`Tap` stands between a program and the functions that change a disk, for paths below one folder;
`Injector` makes the k-th call of a kind fail as a `Fault` says; `Counter` only counts.
"""

import builtins
import errno
import io
import os
import signal
import threading
from collections import Counter
from dataclasses import dataclass

KINDS = (
    "open",
    "write",
    "fsync",
    "rename",
    "link",
    "unlink",
    "mkdir",
    "rmdir",
    "utime",
    "save_file",
)
FAULTS = ("EIO", "ENOSPC", "EINTR", "short", "full", "kill")

# As they are before anything is put in their place.
REAL = {
    name: getattr(os, name)
    for name in (
        "open",
        "write",
        "fsync",
        "rename",
        "replace",
        "link",
        "unlink",
        "mkdir",
        "rmdir",
        "utime",
    )
}
real_open, _readlink, _kill = io.open, os.readlink, os.kill


def whereabouts(path, dir_fd=None):
    "The absolute path that a call means: from a path, or from an open file's number."
    try:
        if isinstance(path, int):
            return _readlink(f"/proc/self/fd/{path}")

        path = os.fsdecode(path)
        if dir_fd is not None and not os.path.isabs(path):
            path = os.path.join(_readlink(f"/proc/self/fd/{dir_fd}"), path)
    except OSError:
        return ""
    return os.path.abspath(path)


class Tap:
    "Sees every call that may change the disk below a folder. Subclasses say what comes of it."

    def __init__(self, folder):
        self.args = (folder,)
        self.folder, self.saved, self.lock = os.path.realpath(folder), [], threading.RLock()

    def __reduce__(self):
        return type(self), self.args  # a lock does not travel

    def inside(self, path):
        return path == self.folder or path.startswith(self.folder + os.sep)

    def call(self, kind, paths, act, data=None):
        "Do `act()`, which gives the answer, or something else."
        return act()

    def __enter__(self):
        import safetensors.torch

        for name in ("unlink", "mkdir", "rmdir", "utime", "open"):
            self._put(os, name, self._one(name))
        for name in ("rename", "replace", "link"):
            self._put(os, name, self._two(name))
        self._put(os, "fsync", self._fsync)
        self._put(os, "write", self._write)
        self._put(builtins, "open", self._open)
        self._put(io, "open", self._open)
        self.save_file = safetensors.torch.save_file
        self._put(safetensors.torch, "save_file", self._save_file)
        return self

    def __exit__(self, *exc):
        while self.saved:
            setattr(*self.saved.pop())

    def _put(self, owner, name, replacement):
        self.saved.append((owner, name, getattr(owner, name)))
        setattr(owner, name, replacement)

    def _one(self, name):
        real = REAL[name]

        def one(path, *args, dir_fd=None, **kwargs):
            where = whereabouts(path, dir_fd)
            given = kwargs if dir_fd is None else {**kwargs, "dir_fd": dir_fd}
            if not self.inside(where):
                return real(path, *args, **given)

            flags = args[0] if name == "open" and args else kwargs.get("flags")
            return self.call(name, [where], lambda: real(path, *args, **given), flags)

        return one

    def _two(self, name):
        real = REAL[name]
        kind = "rename" if name == "replace" else name

        def two(src, dst, **kwargs):
            a = whereabouts(src, kwargs.get("src_dir_fd"))
            b = whereabouts(dst, kwargs.get("dst_dir_fd"))
            if not self.inside(a) and not self.inside(b):
                return real(src, dst, **kwargs)

            return self.call(kind, [a, b], lambda: real(src, dst, **kwargs))

        return two

    def _fsync(self, fd):
        fd = fd if isinstance(fd, int) else fd.fileno()
        where = whereabouts(fd)
        if not self.inside(where):
            return REAL["fsync"](fd)

        return self.call("fsync", [where], lambda: REAL["fsync"](fd))

    def _write(self, fd, data):
        where = whereabouts(fd)
        if not self.inside(where):
            return REAL["write"](fd, data)

        return self.call("write", [where], lambda data=data: REAL["write"](fd, data), data)

    def _open(self, file, mode="r", *args, **kwargs):
        "What is opened to be read is left alone."
        where = whereabouts(file) if not isinstance(file, int) else ""
        if not self.inside(where) or not set(mode) & set("wax+"):
            return real_open(file, mode, *args, **kwargs)

        flags = os.O_CREAT | os.O_WRONLY | (os.O_TRUNC if "w" in mode else 0)
        return self.call("open", [where], lambda: real_open(file, mode, *args, **kwargs), flags)

    def _save_file(self, tensors, filename, metadata=None):
        where = whereabouts(filename)
        if not self.inside(where):
            return self.save_file(tensors, filename, metadata)

        act = lambda: self.save_file(tensors, filename, metadata)
        return self.call("save_file", [where], act)


class Count(Tap):
    "Counts the calls of each kind."

    def __init__(self, folder):
        super().__init__(folder)
        self.seen = Counter()

    def call(self, kind, paths, act, data=None):
        with self.lock:
            self.seen[kind] += 1
        return act()


@dataclass(frozen=True)
class Fault:
    "The `at`-th call of a kind (1 is the first) goes wrong."

    kind: str  # one of KINDS
    at: int  # which call of that kind
    what: str  # one of FAULTS

    def __str__(self):
        return f"{self.kind} {self.at}: {self.what}"

    @property
    def possible(self):
        "Only data can be written short; a full disk still removes; saving tensors retries itself."
        if self.what == "short":
            return self.kind in ("write", "save_file")
        if self.what == "full":
            return self.kind in ("open", "write", "fsync", "mkdir", "save_file")
        return (self.kind, self.what) != ("save_file", "EINTR")


_GROWS = ("write", "fsync", "mkdir", "link", "save_file")  # what a full disk refuses


class Injector(Count):
    "Lets one fault happen; `hit` is the path it befell, None until then."

    def __init__(self, folder, fault, mark=None):
        super().__init__(folder)
        self.args = (folder, fault, mark)
        self.fault, self.hit = fault, None
        self.mark = mark  # a file that says, for all processes, that it has happened

    def call(self, kind, paths, act, data=None):
        with self.lock:
            self.seen[kind] += 1
            now = kind == self.fault.kind and self.seen[kind] == self.fault.at
            now = now and self._first(paths[-1])
            if now:
                self.hit = paths[-1]
        if now:
            return self._fail(kind, paths, act, data)
        if self.hit and self.fault.what == "full" and self._grows(kind, data):
            raise self._error(kind, errno.ENOSPC, paths)
        return act()

    def _grows(self, kind, data):
        return kind in _GROWS or kind == "open" and bool((data or 0) & os.O_CREAT)

    def _first(self, path):
        "One process of many lets it happen, and leaves the path it befell in the mark."
        if self.mark is None:
            return True
        try:
            fd = REAL["open"](self.mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False

        REAL["write"](fd, path.encode())
        os.close(fd)
        return True

    def _error(self, kind, number, paths):
        if kind == "save_file":
            from safetensors import SafetensorError

            return SafetensorError(f"I/O error: {os.strerror(number)} (os error {number})")
        return OSError(number, os.strerror(number), paths[-1])  # EINTR is an InterruptedError

    def _fail(self, kind, paths, act, data):
        what = self.fault.what
        if what == "kill":
            if kind == "write" and len(data) > 1:
                act(data[: len(data) // 2])
            if kind == "save_file":
                self._half(act, paths)
            _kill(os.getpid(), signal.SIGKILL)
        if what == "short" and kind == "write":
            return act(data[: max(1, len(data) // 2)])
        if what == "short":
            self._half(act, paths)
        number = errno.ENOSPC if what in ("short", "full") else getattr(errno, what)
        raise self._error(kind, number, paths)

    def _half(self, act, paths):
        act()
        os.truncate(paths[-1], os.path.getsize(paths[-1]) // 2)


_installed = []


class Carried:
    """A listener that brings a fault along to wherever it is unpickled: the workers of a pool.

    A new one replaces the one before, so that a pool serves many cases.
    """

    def __init__(self, folder, fault, mark):
        self.args = (str(folder), fault, str(mark))

    def __call__(self, step):
        pass

    def __reduce__(self):
        return _install, self.args


def _install(folder, fault, mark):
    here = Carried(folder, fault, mark)
    if _installed and _installed[0] == here.args:
        return here  # this worker's second trunk of one case

    if _installed:
        _installed.pop().__exit__()
        _installed.pop()
    tap = Injector(folder, fault, mark)
    tap.__enter__()
    _installed[:] = [here.args, tap]
    return here


def uninstall():
    "Take the fault out of this process."
    if _installed:
        _installed[1].__exit__()
        _installed.clear()
