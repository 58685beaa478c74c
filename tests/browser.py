"""A headless Chromium for tests, driven through chromedriver's HTTP interface (W3C WebDriver).

Nothing is installed for it: `find_browser` says whether both programs are there (on Debian `apt-get
install chromium chromium-driver`). The browser gets an empty profile and no name server: whatever
asks for the network is seen to fail in its log.
"""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "--lang=en",
    "--hide-scrollbars",
)  # fmt: skip


def find_browser() -> tuple[str, str] | None:
    """Paths of Chromium and chromedriver, or None."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    return (chromium, driver) if chromium and driver else None


class Browser:
    """One open window.

    Args:
        address: of chromedriver.
        chromium: path of the browser.
        profile: an empty folder.
        size: width and height of the page in CSS pixels.
    """

    def __init__(self, address: str, chromium: str, profile: str, size: tuple[int, int]) -> None:
        self._address = address
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        flags = [*QUIET, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"
        # the browser's own first page asks for its parts for a while: leave it, then forget them
        self._ask("POST", f"{self._session}/url", {"url": "about:blank"})
        self.requests()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            self._address + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with self._opener.open(request, timeout=120) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()[:500]) from None

    def open(self, page: Path) -> None:
        """Load a file and wait until it is there."""
        self._ask("POST", f"{self._session}/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script returns."""
        body = {"script": script, "args": list(arguments)}
        return self._ask("POST", f"{self._session}/execute/sync", body)

    def develop(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        body = {"cmd": command, "params": parameters}
        return self._ask("POST", f"{self._session}/goog/cdp/execute", body)

    def prefer(self, scheme: str) -> None:
        """Let the system prefer "light" or "dark"."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.develop("Emulation.setEmulatedMedia", features=[feature])

    def press(self, *keys: str) -> None:
        """Type keys, one after another (WebDriver's code points for arrows and the like)."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keys", "actions": actions}]}
        self._ask("POST", f"{self._session}/actions", body)

    def point(self, x: int, y: int) -> None:
        """Move the pointer to a place of the visible page."""
        move = {"type": "pointerMove", "duration": 0, "x": x, "y": y}
        body = {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]}
        self._ask("POST", f"{self._session}/actions", body)

    def picture(self) -> bytes:
        """A PNG of what is visible."""
        return base64.b64decode(self._ask("GET", f"{self._session}/screenshot"))

    def picture_of(self, *selectors: str, margin: int = 8) -> bytes:
        """A PNG of what lies from the first of some elements to the last, also out of sight."""
        boxes = self.run(
            "return arguments[0].map(s => document.querySelector(s).getBoundingClientRect())"
            ".map(b => [b.left + scrollX, b.top + scrollY, b.right + scrollX, b.bottom + scrollY])",
            selectors,
        )
        left, top = (max(0, min(box[i] for box in boxes) - margin) for i in (0, 1))
        right, bottom = (max(box[i] for box in boxes) + margin for i in (2, 3))
        right = min(right, self.run("return innerWidth"))
        clip = {"x": left, "y": top, "width": right - left, "height": bottom - top, "scale": 1}
        shot = self.develop("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def log(self) -> list[str]:
        """What the console said since the last call: errors, and refusals of the page's policy."""
        lines = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        return [f"{line['level']}: {line['message']}" for line in lines]

    def requests(self) -> list[str]:
        """URLs asked for since the last call."""
        lines = self._ask("POST", f"{self._session}/se/log", {"type": "performance"})
        events = [json.loads(line["message"])["message"] for line in lines]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        """End the session, and with it the browser."""
        self._ask("DELETE", self._session)


@contextmanager
def open_browser(size: tuple[int, int] = (1280, 800)) -> Iterator[Browser]:
    """A browser for the block; `find_browser` must have found one."""
    found = find_browser()
    assert found is not None
    chromium, driver = found
    with tempfile.TemporaryDirectory(prefix="minibert-browser-") as folder:
        output = Path(folder) / "driver.log"
        with output.open("wb") as log:
            process = subprocess.Popen([driver, "--port=0"], stdout=log, stderr=log)
        try:
            port = None
            for _ in range(300):
                # before that it says "on port 0": the one it was asked for, not the one it has
                port = re.search(
                    r"successfully on port (\d+)\.", output.read_text(errors="replace")
                )
                if port:
                    break
                time.sleep(0.1)
            assert port, output.read_text(errors="replace")
            browser = Browser(f"http://127.0.0.1:{port[1]}", chromium, f"{folder}/profile", size)
            try:
                yield browser
            finally:
                browser.close()
        finally:
            process.terminate()
            process.wait(30)
