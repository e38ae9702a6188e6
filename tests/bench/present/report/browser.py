"""A real headless Chromium for tests: what it logged and what it asked the network for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MISSING = (
    "needs Chromium and its driver: `apt-get install -y chromium chromium-driver` (Debian), or "
    "chromium and chromedriver of your system, on PATH"
)
# "chrome:" is the start page of the browser itself, which no file may ask for.
LOCAL = ("file:", "data:", "blob:", "about:", "chrome:")
DRIVERS = ("chromedriver", "chromium.chromedriver")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def found() -> tuple[str, str] | None:
    """Paths of browser and driver; None where one is missing. Nothing is ever downloaded."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    driver = next((path for name in DRIVERS if (path := shutil.which(name))), None)
    return (browser, driver) if browser and driver else None


class Browser:
    """One window, driven through chromedriver."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, size: tuple[int, int] = (1280, 800), *, dark: bool = False) -> None:
        """Load a page in a window of so many CSS pixels, in either colour scheme."""
        self.look(size, dark=dark)
        self.logs()
        self.requests()
        self.driver.get(page.resolve().as_uri())
        self.wait("document.documentElement.dataset.plots !== undefined || !window.Bokeh")

    def look(self, size: tuple[int, int], *, dark: bool = False) -> None:
        """Another window size or colour scheme."""
        width, height = size
        window = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def js(self, script: str, *arguments: Any) -> Any:
        """Run `return script` in the page."""
        return self.driver.execute_script(f"return ({script})", *arguments)

    def wait(self, condition: str, seconds: float = 45.0) -> None:
        """Until a condition of the page holds."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(
            lambda _: self.js(f"Boolean({condition})"), condition
        )

    def all(self, css: str) -> list[Any]:
        """Elements in the page's order."""
        found: list[Any] = self.driver.find_elements("css selector", css)
        return found

    def logs(self) -> list[str]:
        """What the console has got since the last call."""
        return [f"{line['level']}: {line['message']}" for line in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call that are not the page's own bytes."""
        events = [
            json.loads(line["message"])["message"] for line in self.driver.get_log("performance")
        ]
        sent = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [address for address in sent if not address.startswith(LOCAL)]

    def screenshot(self, path: Path) -> None:
        """What the window shows, as PNG."""
        self.driver.save_screenshot(str(path))


@contextmanager
def started(profile: Path) -> Iterator[Browser]:
    """A Chromium of its own with an empty profile.

    Args:
        profile: folder for it; must not exist or be empty.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    places = found()
    assert places is not None, MISSING
    options = Options()
    options.binary_location = places[0]
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(places[1]))
    driver.set_page_load_timeout(60)
    driver.get("about:blank")  # the start page, with what it asks for and logs, ends here
    try:
        yield Browser(driver)
    finally:
        driver.quit()
