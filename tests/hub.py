"""A Hugging Face hub on this machine: enough of its API for `datasets` and `tokenizers` to load
public names through HF_ENDPOINT."""

import hashlib, json, threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse


@contextmanager
def serve_hub(
    repos: dict,  # {"datasets/owner/name" or "models/name": {path in the repository: bytes}}
):
    "Yields (endpoint, list of requests seen)."
    seen, sha = [], "0123456789abcdef0123456789abcdef01234567"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self, body, status=200, **headers):
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for k, v in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "X-Repo-Commit": sha,
                **headers,
            }.items():
                self.send_header(k, v)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def missing(self, what="EntryNotFound"):
            self.answer({"error": what}, 404, **{"X-Error-Code": what})

        def handle_any(self):
            path, body = (
                unquote(urlparse(self.path).path),
                self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            )
            seen.append(f"{self.command} {path}")
            for repo, files in repos.items():
                kind, name = repo.split("/", 1)
                entry = lambda p: dict(
                    type="file", path=p, size=len(files[p]), oid=hashlib.sha1(files[p]).hexdigest()
                )
                api, plain = f"/api/{repo}", f"/{name}" if kind == "models" else f"/{repo}"
                if path.startswith(f"{plain}/resolve/"):
                    p = path[len(f"{plain}/resolve/") :].split("/", 1)[1]
                    if p not in files:
                        return self.missing()
                    return self.answer(
                        files[p],
                        **{
                            "ETag": f'"{hashlib.sha1(files[p]).hexdigest()}"',
                            "Content-Type": "application/octet-stream",
                        },
                    )
                if path == api or path.startswith(f"{api}/revision/"):
                    return self.answer(
                        dict(
                            id=name,
                            sha=sha,
                            private=False,
                            gated=False,
                            disabled=False,
                            downloads=0,
                            likes=0,
                            tags=[],
                            siblings=[dict(rfilename=p) for p in files],
                        )
                    )
                if path.startswith(f"{api}/tree/"):
                    under = (path[len(f"{api}/tree/") :].split("/", 1) + [""])[1]
                    inside = [p for p in files if p.startswith(under and under + "/")]
                    found = [entry(p) for p in inside]
                    if "recursive=true" not in self.path.lower():
                        rests = {p: p[len(under) + bool(under) :] for p in inside}
                        found = [entry(p) for p, r in rests.items() if "/" not in r]
                        found += [
                            dict(type="directory", path=d, oid=sha)
                            for d in sorted(
                                {
                                    p[: -len(r)] + r.split("/")[0]
                                    for p, r in rests.items()
                                    if "/" in r
                                }
                            )
                        ]
                    return self.answer(found) if found else self.missing()
                if path.startswith(f"{api}/paths-info/"):
                    asked = (
                        json.loads(body)["paths"]
                        if body[:1] == b"{"
                        else [v for v in unquote(body.decode()).replace("paths=", "").split("&")]
                    )
                    folders = [
                        dict(type="directory", path=a, oid=sha)
                        for a in asked
                        if any(p.startswith(a + "/") for p in files)
                    ]
                    return self.answer([entry(p) for p in asked if p in files] + folders)
            self.missing("RepoNotFound")

        do_GET = do_HEAD = do_POST = handle_any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
