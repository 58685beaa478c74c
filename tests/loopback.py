"""A web server on loopback that plays the Hugging Face Hub, or a plain file host, with faults.

It speaks as much of the Hub's protocol as huggingface_hub needs to download single files:

    HEAD|GET /NAME/resolve/REVISION/FILE    X-Repo-Commit and ETag; errors carry X-Error-Code
    large files (*.safetensors, *.bin)      302 to /large/..., X-Linked-Etag and X-Linked-Size
    a renamed model                         307 with a relative Location

Small files have their git blob id as ETag, large ones their sha256, as on the Hub. X-Xet-Hash is
never sent, so downloads are plain HTTP. Any other path is looked up in `files`.
"""

import hashlib
import os
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from tests.guard import OFFLINE


def git_blob_id(content: bytes) -> str:
    """What `git hash-object` prints for the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(file: str) -> bool:
    """Whether the Hub would keep the file in its large-file storage."""
    return file.endswith((".safetensors", ".bin"))


class LoopbackServer:
    """Serves on 127.0.0.1 while used as a context manager.

    Attributes:
        url: "http://127.0.0.1:PORT", without a slash at the end.
        files: path without the leading slash -> content, for the plain file host.
        etags: path on the plain file host -> its ETag; with one, a Range goes with an If-Range.
        aliases: old Hub name -> name of today.
        redirects: path on the plain file host -> address it says the file is at.
        faults: "NAME/FILE" on the Hub, or a plain path -> what goes wrong with it: a status (503;
            429 with Retry-After), "gated", "refused", "no X-Repo-Commit", "no ETag", "a page" (an
            HTML page with status 200, as from a hotel's network), or in the body "flip" (one bit),
            "short", "cut" (connection closed half way), "endless" (no length given, never ends),
            "whole" (a Range is not understood), "elsewhere" (another range than was asked for).
            A list of faults: the first GET meets the first of them, and so on.
        requests: (method, path, headers) of every request, in order; headers' names in small
            letters.
        hook: called with (method, path) before each answer.
        large_url: where large files are redirected to: this server under another host's name,
            because clients treat a redirect to the same host differently.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.faults: dict[str, str | int | list[str | int]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.hook: Callable[[str, str], None] = lambda method, path: None
        self._commits: dict[str, dict[str, dict[str, bytes]]] = {}  # name -> revision -> files
        self._branches: dict[tuple[str, str], str] = {}
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def do_GET(self) -> None:
                owner._answer(self)

            do_HEAD = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.large_url = self.url.replace("127.0.0.1", "localhost")
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._closed = False

    def __enter__(self) -> "LoopbackServer":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening: from now on connections are refused."""
        if not self._closed:
            self._closed = True
            self._server.shutdown()
            self._server.server_close()

    def add_model(self, name: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Commit `files` as the whole content of a branch; returns the commit's 40 digits."""
        text = repr((name, branch, sorted(files.items()))).encode()
        commit = hashlib.sha1(text).hexdigest()
        self._commits.setdefault(name, {})[commit] = dict(files)
        self._branches[name, branch] = commit
        return commit

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(request.path.lstrip("/"))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.command, path, headers))
        self.hook(request.command, path)
        if "/resolve/" in path:
            self._answer_hub(request, path)
        elif path.startswith("large/"):
            name, commit, file = path.removeprefix("large/").rsplit("/", 2)
            fault = self._fault(request, f"{name}/{file}")
            self._send(request, self._commits[name][commit][file], {}, fault)
        elif path in self.redirects:
            self._send_status(request, 302, {"Location": self.redirects[path]})
        else:
            headers = {"ETag": self.etags[path]} if path in self.etags else {}
            self._send(request, self.files.get(path), headers, self._fault(request, path))

    def _fault(self, request: BaseHTTPRequestHandler, path: str) -> str | int | None:
        fault = self.faults.get(path)
        if isinstance(fault, list):
            return fault.pop(0) if fault and request.command == "GET" else None
        return fault

    def _answer_hub(self, request: BaseHTTPRequestHandler, path: str) -> None:
        name, rest = path.split("/resolve/")
        revision, file = rest.rsplit("/", 1)
        if name in self.aliases:
            location = "/" + path.replace(name, self.aliases[name], 1)
            return self._send_status(request, 307, {"Location": location})
        if name not in self._commits:
            return self._send_status(request, 401, {"X-Error-Code": "RepoNotFound"})
        large = is_large(file)
        fault = (
            self.faults.get(f"{name}/{file}") if large else self._fault(request, f"{name}/{file}")
        )
        if fault == "a page":
            return self._send(request, b"<!DOCTYPE html><p>Please log in.", {}, None)
        if fault == "gated":
            return self._send_status(request, 403, {"X-Error-Code": "GatedRepo"})
        if fault == "refused":
            refusal = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return self._send_status(request, 401, refusal)
        commit = self._branches.get((name, revision), revision)
        if commit not in self._commits[name]:
            return self._send_status(request, 404, {"X-Error-Code": "RevisionNotFound"})
        headers = {} if fault == "no X-Repo-Commit" else {"X-Repo-Commit": commit}
        content = self._commits[name][commit].get(file)
        if content is None:
            return self._send_status(request, 404, {**headers, "X-Error-Code": "EntryNotFound"})
        if not large:
            if fault != "no ETag":
                headers["ETag"] = f'"{git_blob_id(content)}"'
            return self._send(request, content, headers, fault)
        if isinstance(fault, int):
            return self._send_status(request, fault, {})
        if fault != "no ETag":
            headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        headers["X-Linked-Size"] = str(len(content))
        headers["Location"] = f"{self.large_url}/large/{name}/{commit}/{file}"
        self._send_status(request, 302, headers)

    def _send_status(
        self, request: BaseHTTPRequestHandler, status: int, headers: dict[str, str]
    ) -> None:
        request.send_response(status)
        if status == 429:
            headers = {**headers, "Retry-After": "1"}
        for key, value in {**headers, "Content-Length": "0"}.items():
            request.send_header(key, value)
        request.end_headers()

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        content: bytes | None,
        headers: dict[str, str],
        fault: str | int | None,
    ) -> None:
        """Answer with a file: 404 for None, and the fault where there is one."""
        if content is None or isinstance(fault, int):
            return self._send_status(request, fault if isinstance(fault, int) else 404, {})
        body = content
        if request.command == "GET" and fault == "flip":
            body = content[:-1] + bytes([content[-1] ^ 1])
        elif request.command == "GET" and fault == "short":
            body = content[: len(content) // 2]
        resumed = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        same = request.headers.get("If-Range") in (None, headers.get("ETag"))
        if fault == "whole" or not same:
            resumed = None
        if resumed and int(resumed[1]) >= len(body):
            return self._send_status(request, 416, {"Content-Range": f"bytes */{len(body)}"})
        if resumed and fault == "elsewhere":
            resumed = re.fullmatch(r"(0)", "0")
        if resumed:
            headers = {
                **headers,
                "Content-Range": f"bytes {resumed[1]}-{len(body) - 1}/{len(body)}",
            }
            body = body[int(resumed[1]) :]
        request.send_response(206 if resumed else 200)
        for key, value in headers.items():
            request.send_header(key, value)
        if fault != "endless":
            request.send_header("Content-Length", str(len(body)))
        request.send_header("Connection", "close")
        request.end_headers()
        request.close_connection = True
        if request.command == "HEAD":
            return
        if fault == "cut":
            request.wfile.write(body[: len(body) // 2])
        elif fault == "endless":
            try:
                while not self._closed:
                    request.wfile.write(body)
            except OSError:  # the client has had enough, as it should
                pass
        else:
            request.wfile.write(body)


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's environment without proxies, tokens and Hub settings, plus `changes`.

    With HF_ENDPOINT among these the Hub may be asked; else it is off, as in all tests.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if "proxy" not in key.lower() and not key.startswith(("HF_", "HUGGING", "MINIBERT_"))
    }
    settings = {**OFFLINE, "HF_HUB_OFFLINE": "0" if "HF_ENDPOINT" in changes else "1"}
    return {**kept, **settings, "NO_PROXY": "127.0.0.1,localhost", **changes}
