"""A hub on this machine: it takes repositories and commits, and keeps what came."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Hub:
    """What was sent.

    Attributes:
        url: of the hub.
        created: bodies of the requests for new repositories.
        files: path in the repository -> content.
        tokens: authorization headers.
    """

    url: str = ""
    created: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    refuse: bool = False


@contextmanager
def stub_hub() -> Iterator[Hub]:
    """A hub that runs while the block does."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {"id": "us/results", "sha": "0" * 40, "siblings": []}
            self._answer({"error": "none"} if hub.refuse else known, 404 if hub.refuse else 200)

        def do_POST(self) -> None:
            body = self._body()
            hub.tokens.add(self.headers.get("Authorization", ""))
            if hub.refuse:
                self._answer({"error": "You are not allowed to do that"}, 403)
            elif self.path == "/api/repos/create":
                made = json.loads(body)
                hub.created.append(made)
                self._answer({"url": f"{hub.url}/datasets/{made['organization']}/{made['name']}"})
            elif self.path == "/api/validate-yaml":
                self._answer({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                files = [
                    {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for one in json.loads(body)["files"]
                ]
                self._answer({"files": files})
            elif "/commit/" in self.path:
                for line in body.decode().splitlines():
                    item = json.loads(line)
                    if item["key"] == "file":
                        value = item["value"]
                        hub.files[value["path"]] = base64.b64decode(value["content"])
                self._answer(
                    {
                        "commitUrl": f"{hub.url}/datasets/us/results/commit/{'1' * 40}",
                        "commitOid": "1" * 40,
                    }
                )
            else:
                self._answer({"error": f"no {self.path}"}, 404)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _answer(self, data: dict[str, Any], code: int = 200) -> None:
            text = json.dumps(data).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
