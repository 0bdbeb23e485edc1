"What may befall one file: each damage is a function of the file and of the same file elsewhere."

import contextlib
import json
import os
import re
import shutil
import stat

from faults import forge
from faults.injection import Tap, real_open


def torn(eighths):
    def tear(file, other):
        os.truncate(file, file.stat().st_size * eighths // 8)

    return tear


def flipped(eighths):
    "One bit, in the first half of that eighth of the file."

    def flip(file, other):
        data = bytearray(file.read_bytes())
        if data:
            data[(2 * eighths + 1) * len(data) // 16] ^= 1 << eighths % 7
        file.write_bytes(data)

    return flip


def empty(file, other):
    file.write_bytes(b"")


def zeroed(file, other):
    file.write_bytes(bytes(file.stat().st_size))


def anothers(file, other):
    shutil.copy(other, file)


def older(file, other):
    "As it was before files said their format."
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file, save_file

        tensors = {k: v.clone() for k, v in load_file(file).items()}
        file.unlink()
        save_file(tensors, file)
    elif file.suffix == ".json":
        forge.write(file, forge.read(file)[0], sealed=False)


def newer(file, other):
    "As a later version may write it."
    if file.suffix == ".safetensors":
        header(file, lambda text: re.sub(r'"format":"\d+"', '"format":"999"', text))
    elif file.suffix == ".json":
        content, sealed = forge.read(file)
        forge.write(file, content, True, version=999)


def numbers(value):
    "Every number in it is this; the seal fits where there is one."

    def spoil(file, other):
        if file.suffix == ".safetensors":
            header(file, lambda text: re.sub(r'(\\": ?)-?[\d.e+-]+', rf"\g<1>{value}", text))
        elif file.suffix == ".json":
            content, sealed = forge.read(file)
            forge.write(file, replaced(content, json.loads(value)), sealed)
        else:
            file.write_text(re.sub(r"\d[\d.e+-]*", value, file.read_text()))

    return spoil


def replaced(content, value):
    if isinstance(content, dict):
        return {k: replaced(v, value) for k, v in content.items()}
    if isinstance(content, list):
        return [replaced(v, value) for v in content]
    number = isinstance(content, (int, float)) and not isinstance(content, bool)
    return value if number else content


def header(file, change):
    "Change what a safetensors file says of itself."
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    text = change(data[8 : 8 + size].decode()).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def folder(file, other):
    file.unlink()
    file.mkdir()
    (file / "inside").write_text("x")


def fifo(file, other):
    file.unlink()
    os.mkfifo(file)


def loop(file, other):
    file.unlink()
    file.symlink_to(file.name)


def zero(file, other):
    file.unlink()
    file.symlink_to("/dev/zero")


def huge(file, other):
    "A terabyte, of which the disk holds next to nothing."
    try:
        os.truncate(file, 2**40)
    except OSError:
        os.truncate(file, 2**30)


DAMAGES = {
    **{f"torn at {i} of 8": torn(i) for i in range(1, 8)},
    "empty": empty,
    "zeroed": zeroed,
    **{f"a bit at {i} of 8": flipped(i) for i in range(8)},
    "another sweep's": anothers,
    "older": older,
    "newer": newer,
    **{f"numbers {v}": numbers(v) for v in ("NaN", "Infinity", "-1", '"0.5"', "null", "1e308")},
    "folder": folder,
    "fifo": fifo,
    "loop": loop,
    "zero": zero,
    "huge": huge,
    "unreadable": None,
}


class Unreadable(Tap):
    "Nobody may read a file: root is held to it too."

    def __init__(self, file):
        super().__init__(file.parent)
        self.file = os.path.realpath(file)

    def call(self, kind, paths, act, flags=None):
        if kind == "open" and paths[0] == self.file and not (flags or 0) & os.O_CREAT:
            raise PermissionError(13, "Permission denied", paths[0])
        return act()

    def _open(self, file, mode="r", *args, **kwargs):
        if isinstance(file, (str, os.PathLike)) and os.path.abspath(file) == self.file:
            raise PermissionError(13, "Permission denied", self.file)
        return real_open(file, mode, *args, **kwargs)

    def __enter__(self):
        import safetensors

        super().__enter__()
        safe_open = safetensors.safe_open

        def guarded(path, *args, **kwargs):
            if os.path.abspath(path) == self.file:
                raise PermissionError(13, "Permission denied", self.file)
            return safe_open(path, *args, **kwargs)

        self._put(safetensors, "safe_open", guarded)
        return self


@contextlib.contextmanager
def done_to(file, name, other):
    "Damage a file, for good; but `unreadable` it is in here alone."
    if name == "unreadable":
        with Unreadable(file):
            yield
        return

    DAMAGES[name](file, other)
    yield


def remove(file):
    "Take away whatever stands there now."
    if os.path.lexists(file):
        if stat.S_ISDIR(os.lstat(file).st_mode):
            shutil.rmtree(file)
        else:
            file.unlink()
