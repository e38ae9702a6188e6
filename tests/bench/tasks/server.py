"""A small web server on this machine, with the habits of good and bad ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What the server has, how it behaves, and what it was asked.

    Attributes:
        files: path -> content.
        mark: ETag of all files; "" for none.
        ranges: whether parts are served.
        cuts: bytes after which an answer breaks off, one an answer, then no more.
        asked: ``"PATH RANGE"`` of every GET.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    mark: str = '"one"'
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    """Serve files on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(f"{self.path} {wanted or ''}".strip())
            data = state.files.get(self.path)
            if data is None:
                self.send_error(404, "Not Found")
                return
            same = self.headers.get("If-Range") in (None, state.mark)
            start = int(wanted[6:].partition("-")[0]) if wanted and state.ranges and same else 0
            if start and start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            if state.mark:
                self.send_header("ETag", state.mark)
            self.end_headers()
            body = data[start:]
            if state.cuts:
                body = body[: state.cuts.pop(0)]
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{server.server_address[1]}", dict(files))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
