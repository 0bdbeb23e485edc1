"Files as a stranger, or another version, might write them."

import hashlib
import json


def read(file):
    "(content, was it sealed?) of a JSON file that the store wrote."
    said = json.loads(file.read_text())
    sealed = isinstance(said, dict) and {"format", "sha256", "content"} <= said.keys()
    return (said["content"] if sealed else said), sealed


def write(file, content, sealed, version=1):
    "Write it back, with the seal that fits: NaN and all, which the store itself refuses to write."
    inner = json.dumps(content)
    if sealed:
        digest = hashlib.sha256(inner.encode()).hexdigest()
        inner = f'{{"format": {version}, "sha256": "{digest}", "content": {inner}}}'
    file.write_text(inner)


def forge(file, sealed=None, **fields):
    "Change fields of a file's object; `sealed` False writes it as it was before there were seals."
    content, was = read(file)
    write(file, {**content, **fields}, was if sealed is None else sealed)
