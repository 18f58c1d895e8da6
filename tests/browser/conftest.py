"""Pages in Chromium: a real server for each theme, one world for both, a fresh browser session for each test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from permsite import child
from permsite.launcher import Launcher

ROOT = Path(__file__).resolve().parents[2]
PHONE = 390  # pixels
TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Sites:
    """`sites(theme)` → the address of a server with that theme, started when it is asked for. All use one database and Valkey."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launcher = Launcher()
        self.valkey = self.launcher.redis(folder=folder / "kv")
        env = {key: value for key, value in os.environ.items() if not key.startswith(("DATABASE_", "REDIS_", "DJANGO_"))}
        self._env = env | {
            "DATABASE_URL": f"sqlite:///{folder / 'site.sqlite3'}",
            "REDIS_URL": self.valkey.url,
            "PERMSITE_VAR": str(folder),
            "SECRET_KEY": "pages-" + "k" * 50,
            "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT)))),
        }
        self._argv = [sys.executable, "-m", "tests.browser.site"]
        subprocess.run([*self._argv, "prepare", str(folder / "key")], cwd=ROOT, env=self._env, check=True)
        self.key = (folder / "key").read_text()
        self._started: dict[str, tuple[Any, str]] = {}

    def __call__(self, theme: str) -> str:
        if theme not in self._started:
            self.start(theme, "0")
        return f"http://localhost:{self._started[theme][1]}"

    def start(self, theme: str, port: str) -> None:
        port_file = self.folder / f"{theme}.port"
        port_file.unlink(missing_ok=True)
        log = self.folder / f"{theme}.log"
        argv = [*self._argv, "serve", str(port_file), port]
        process = child.start(argv, cwd=ROOT, log=log, env=self._env | {"ADMIN_THEME": theme})
        self._started[theme] = (process, _port(process, port_file, log))

    def stop(self, theme: str) -> str:
        """Its port, for who starts it again."""
        process, port = self._started[theme]
        process.terminate()
        process.wait(timeout=20)
        return port

    def kill_valkey(self) -> None:
        for process in self.valkey.processes:
            process.kill()
            process.wait()

    def start_valkey(self) -> None:
        self.valkey = self.launcher.redis(folder=self.folder / "kv")

    def close(self) -> None:
        for theme in self._started:
            self.stop(theme)
        self.launcher.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    sites = Sites(tmp_path_factory.mktemp("site"))
    yield sites
    sites.close()


def _port(process: Any, port_file: Path, log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if port_file.exists():
            return port_file.read_text()
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"the site did not start: {log.read_text()[-2000:]}")


@dataclass
class Visit:
    """One browser session at one theme. `complaints`: what the console and the content security policy said."""

    page: Page
    address: str
    theme: str
    complaints: list[str] = field(default_factory=list)

    def login(self, name: str) -> None:
        self.go("/admin/login/")
        self.page.fill("[name=username]", name)
        self.page.fill("[name=password]", "pw")
        self.page.click("[type=submit]")
        self.page.wait_for_url("**/admin/")

    def go(self, path: str) -> None:
        answer = self.page.goto(self.address + path)
        assert answer is not None and answer.status == 200, (path, answer and answer.status)
        # Two frames: what scripts do at load (labels, tabs, completing selects) is done by then.
        self.page.evaluate(TWO_FRAMES)

    def text(self) -> str:
        return str(self.page.inner_text("body"))

    def sideways(self) -> int:
        """By how many pixels the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def sideways_on_a_phone(self) -> int:
        """The same of the page that is open, on a screen of 390 pixels; then the screen is as it was."""
        screen = self.page.viewport_size
        assert screen is not None
        self.page.set_viewport_size({"width": PHONE, "height": screen["height"]})
        self.page.evaluate(TWO_FRAMES)
        pixels = self.sideways()
        self.page.set_viewport_size(screen)
        self.page.evaluate(TWO_FRAMES)
        return pixels


WATCH = """document.addEventListener("securitypolicyviolation",
  e => console.error("policy: " + e.violatedDirective + " " + e.blockedURI + " " + e.sample))"""


@pytest.fixture
def visit(browser: Browser, site: Callable[[str], str]) -> Iterator[Callable[..., Visit]]:
    """`visit(theme, who=…, dark=…, language=…)` → a session, logged in."""
    opened: list[BrowserContext] = []

    def start(theme: str, who: str = "alice", *, dark: bool = False, language: str = "en-US") -> Visit:
        scheme: Any = "dark" if dark else "light"
        context = browser.new_context(
            viewport={"width": 1440, "height": 844}, color_scheme=scheme, locale=language, reduced_motion="reduce"
        )
        opened.append(context)
        context.add_init_script(WATCH)
        found = Visit(context.new_page(), site(theme), theme)
        found.page.on("console", lambda said: found.complaints.append(said.text) if said.type in ("error", "warning") else None)
        found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
        found.login(who)
        return found

    yield start
    for context in opened:
        context.close()
