"""Debian's Chromium without a window, and pages whose visible content is asked for with a limit on each wait."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.request import urlopen

from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.store import free_port

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
WINDOW = (1400, 1000)
PATIENCE_S = 30.0
START_LIMIT_S = 60.0

# Every loaded <img>: its natural size, its size on the page, and how many colours its pixels have.
_PICTURES = """
return [...document.images].filter(each => each.complete && each.naturalWidth).map(each => {
    const canvas = document.createElement('canvas');
    canvas.width = each.naturalWidth; canvas.height = each.naturalHeight;
    const pen = canvas.getContext('2d');
    pen.drawImage(each, 0, 0);
    const words = new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    const box = each.getBoundingClientRect();
    return [each.src.slice(0, 300), canvas.width, canvas.height, box.width, box.height, new Set(words).size];
});
"""

T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it."""

    source: str
    width: int
    height: int
    shown_width: float
    shown_height: float
    colours: int
    """Different values among its pixels."""


class Browser:
    """One window; a wait that ends in vain saves a screenshot and names it."""

    def __init__(self, driver: Chrome, shots: Path) -> None:
        self.driver, self._shots = driver, shots

    def open(self, url: str) -> None:
        """Load a page anew; a new fragment alone would keep the old page's state."""
        self.driver.get("about:blank")
        self.driver.get(url)

    @property
    def text(self) -> str:
        """The visible text of the page."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def see(self, *texts: str) -> str:
        """Wait until all `texts` are visible; the whole text of the page."""
        shown = lambda: self.text if all(text in self.text for text in texts) else None  # noqa: E731
        return self.wait(shown, f"the text {', '.join(map(repr, texts))}")

    def see_picture(self, accept: Callable[[Picture], bool], what: str) -> Picture:
        """Wait until a picture is shown that `accept` takes."""
        return self.wait(lambda: next(filter(accept, self.pictures()), None), what)

    def pictures(self) -> list[Picture]:
        """All pictures that have loaded."""
        return [Picture(*values) for values in self.driver.execute_script(_PICTURES)]

    def follow(self, xpath: str) -> None:
        """Wait for a link and open its address in this window, whatever window the page opens it in."""
        self.open(
            self.wait(lambda: self.driver.find_element(By.XPATH, xpath).get_attribute("href"), f"the link {xpath}")
        )

    def wait(self, condition: Callable[[], T | None], what: str) -> T:
        """The first true value of `condition`; AssertionError with a screenshot if none comes in time."""

        def tried(_: object) -> T | None:
            try:
                return condition()
            except WebDriverException:  # the page replaced an element in between
                return None

        try:
            return WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.1).until(tried)
        except TimeoutException:
            shot = self.shoot("failed")
            raise AssertionError(
                f"{what} did not appear in {PATIENCE_S:g} s at {self.driver.current_url}; the page looks like {shot} "
                f"and its text is {self.text[:1500]!r}"
            ) from None

    def shoot(self, name: str) -> Path:
        """Save a screenshot."""
        path = self._shots / f"{name}.png"
        self.driver.save_screenshot(str(path))
        return path


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """A Chromium with a new profile in `profile`."""
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--window-size={WINDOW[0]},{WINDOW[1]}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(PATIENCE_S)
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def mlflow_ui(store: str, folder: Path) -> Iterator[str]:
    """The address of `mlflow ui` on the tracking store, on loopback, working in `folder`."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store, "--host", "127.0.0.1"]
    with (folder / "mlflow_ui.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--workers", "1"],
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server, folder / "mlflow_ui.log")
            yield address
        finally:
            _end(server)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while True:
        try:
            with urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            assert server.poll() is None and time.monotonic() < end, f"mlflow ui does not answer: {log.read_text()}"
            time.sleep(0.1)


def _end(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
