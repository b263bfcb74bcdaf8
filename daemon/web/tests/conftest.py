"""A browser, and a daemon with two real engines: SmolLM2 and the tiny GPT-2 of the engines' tests.

MINIVAULTD is the daemon's path, MINIVAULT_TEST_CHROMIUM the browser's. With MINIVAULT_TEST_PAGE=1 the page comes from this folder's parent
in place of the daemon's own copy, so that it can be worked at without building.
"""

import json
import os
import socket
import sys
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

PAGE = Path(__file__).resolve().parent.parent
REPOSITORY = PAGE.parent.parent
sys.path.insert(0, str(REPOSITORY / "compat"))
from daemon import SMOLLM2, Daemon, gpt2  # noqa: E402

PATIENCE = 60_000
# A stranger's name, which to the browser leads to this machine.
EVIL = "evil.example"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Vault(Daemon):
    """A daemon on a port of its own, so that another one can come back in its place."""

    def __init__(self, folder, engine, engines, **server):
        self.port = free_port()
        server["listen"] = f"127.0.0.1:{self.port}"
        super().__init__(os.environ["MINIVAULTD"], folder, engine=engine, engines=engines, server=server, built_in_engines=False)

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read().decode()

    def generate(self, prompt, **fields):
        return json.loads(self.ask("/generate", {"prompt": prompt, "model": "tiny", "max_tokens": 4, **fields}))

    def newest(self):
        """The log's last line."""
        return json.loads(self.ask("/interactions?limit=1"))


def tiny():
    return gpt2(REPOSITORY / "engines/tests/data/gpt2-tiny")


@pytest.fixture(scope="session")
def vault(tmp_path_factory):
    smollm2 = {**SMOLLM2}
    if model := os.environ.get("MINIVAULT_TEST_SMOLLM2"):
        smollm2 = {"backend": "llama-cpp", "model": model}
    with Vault(tmp_path_factory.mktemp("vault"), "smollm2", {"smollm2": smollm2, "tiny": tiny()}) as running:
        # It loads when it is first asked; the tests' clocks shouldn't pay for that.
        running.generate("a")
        yield running


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        # Root has no sandbox to build.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        arguments.append(f"--host-resolver-rules=MAP {EVIL} 127.0.0.1")
        browser = playwright.chromium.launch(executable_path=os.environ["MINIVAULT_TEST_CHROMIUM"], args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens the page of a daemon. No test may end with a request elsewhere, an error in a script or a breach of the page's own policy."""
    contexts, faults = [], []

    def open_at(url, path="/", **context):
        opened = browser.new_context(viewport=context.pop("viewport", {"width": 1200, "height": 900}), **context)
        contexts.append(opened)
        page = opened.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: request.url.startswith(f"{url}/") or faults.append(f"asked {request.url}"))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: "Content Security Policy" in said.text and faults.append(said.text))
        if os.environ.get("MINIVAULT_TEST_PAGE"):
            page.route(lambda asked: asked.split("#")[0] in (f"{url}/", f"{url}/docs") or "/assets/" in asked, from_folder)
        page.goto(f"{url}{path}")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert not faults


def from_folder(route):
    name = route.request.url.split("#")[0].rsplit("/", 1)[1] or "index.html"
    name = "docs.html" if name == "docs" else name
    policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
    policy += "; require-trusted-types-for 'script'; trusted-types 'none'"
    headers = {"Content-Type": TYPES[Path(name).suffix], "Content-Security-Policy": policy}
    route.fulfill(body=(PAGE / name).read_bytes(), headers=headers)


@pytest.fixture
def page(vault, open_page):
    page = open_page(vault.url)
    page.locator("#state[data-state=ready]").wait_for()
    page.locator("#engine option").first.wait_for(state="attached")
    return page
