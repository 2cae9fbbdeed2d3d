"""The few endpoints of a model hub that loading needs, on this machine: a list of files, their heads, their bytes with ranges."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves the repositories that are folders under `root` (root/owner/name/…); slow sends 64 KiB each 20 ms."""

    def __init__(self, root: Path) -> None:
        self.root, self.slow = root, False
        self.sent: dict[str, int] = {}
        self.ranges: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        parts = request.path.split("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        name, rest = ("/".join(parts[2:4]), parts[4:]) if api else ("/".join(parts[:2]), parts[2:])
        folder = self.root / name
        if name == "some/gated":
            return self.refuse(request, 403, "GatedRepo", "Access to model some/gated is restricted")
        if not folder.is_dir():
            return self.refuse(request, 401, "RepoNotFound", "Repository not found")
        if len(rest) > 1 and rest[1] not in ("main", COMMIT):
            return self.refuse(request, 404, "RevisionNotFound", "Invalid rev id")
        if api:
            files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
            data = json.dumps({"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}).encode()
            return self.send(request, 200, data, {"Content-Type": "application/json"}, body)
        file = "/".join(rest[2:])
        data = (folder / file).read_bytes()
        head = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        status, whole = 200, len(data)
        if wanted := request.headers.get("Range"):
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            self.ranges.append(f"{file} from {start}")
            head["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
            status, data = 206, data[start:]
        self.send(request, status, data, head, body, file)

    def send(
        self, request: BaseHTTPRequestHandler, status: int, data: bytes, head: dict[str, str], body: bool, file: str = ""
    ) -> None:
        request.send_response(status)
        for key, value in {**head, "Content-Length": str(len(data))}.items():
            request.send_header(key, value)
        request.end_headers()
        for at in range(0, len(data) if body else 0, 1 << 16):
            try:
                request.wfile.write(data[at : at + (1 << 16)])
            except OSError:
                return  # the other side went away
            self.sent[file] = self.sent.get(file, 0) + len(data[at : at + (1 << 16)])
            if self.slow:
                time.sleep(0.02)

    def refuse(self, request: BaseHTTPRequestHandler, status: int, code: str, message: str) -> None:
        self.send(request, status, b"", {"X-Error-Code": code, "X-Error-Message": message}, body=False)
