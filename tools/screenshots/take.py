"""Takes the README's pictures: real programs, real models, a real browser. tools/screenshots.sh says how it is called."""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPOSITORY / "compat"))
import pages  # noqa: E402
import terminals  # noqa: E402
from daemon import SMOLLM2, Daemon, gpt2  # noqa: E402

# What a README should cost at most for each of its pictures.
MOST_BYTES = 150_000


class Studio:
    """What the pictures are taken of, and with."""

    def __init__(self, options, browser, url, scratch):
        self.browser, self.url, self.scratch = browser, url, scratch
        self.minivault, self.folder = options.minivault, options.folder

    def ask(self, path, body):
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    @contextlib.contextmanager
    def load(self, clients):
        """Several clients that ask again and again, each of them for something else, and each one less often than the one before."""
        end = threading.Event()
        models = [model["id"] for model in json.load(urllib.request.urlopen(f"{self.url}/v1/models"))["data"]]

        def ask_on(number):
            turn = 0
            while not end.is_set():
                turn += 1
                body = {"prompt": f"Story number {number}, part {turn}: once", "model": models[number % len(models)]}
                try:
                    self.ask("/generate", body)
                except OSError:
                    # The last answer may be cut off by the daemon's end.
                    if not end.is_set():
                        raise
                end.wait(0.3 * number)

        for number in range(clients):
            threading.Thread(target=ask_on, args=[number], daemon=True).start()
        try:
            yield
        finally:
            # Answers under way go on: a picture that is taken now shows a daemon that is busy.
            end.set()

    def save(self, name, png):
        """With as many colours as a palette holds, which shows no difference on pictures of text."""
        image = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
        path = self.folder / f"{name}.png"
        image.save(path, optimize=True)
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise SystemExit(f"{path} has {size} bytes; a picture may have {MOST_BYTES}")
        print(f"{path}: {image.width} × {image.height}, {size} bytes")


def engines():
    """SmolLM2, and a second engine where there is one."""
    model = os.environ.get("MINIVAULT_TEST_SMOLLM2")
    found = {"smollm2": {"backend": "llama-cpp", "model": model} if model else SMOLLM2}
    if folder := os.environ.get("MINIVAULT_TEST_TAROTBLE"):
        found["tarotble"] = gpt2(folder)
    return found


def main():
    pictures = {**pages.PICTURES, **terminals.PICTURES}
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["minivaultd", "minivault", "chromium", "folder"]:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("names", nargs="*", help=f"which ones: {', '.join(pictures)}")
    options = parser.parse_args()
    if unknown := set(options.names) - set(pictures):
        parser.error(f"there is no picture {', '.join(unknown)}; there are {', '.join(pictures)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    # Root has no sandbox to build.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=options.chromium, args=arguments)
        stack.callback(browser.close)
        daemon = stack.enter_context(Daemon(options.minivaultd, scratch / "daemon", engine="smollm2", engines=engines(), built_in_engines=False))
        studio = Studio(options, browser, daemon.url, scratch)
        # An engine loads when it is first asked; no picture should wait for that.
        for engine in engines():
            studio.ask("/generate", {"prompt": "a", "model": engine, "max_tokens": 1})
        for name in options.names or pictures:
            pictures[name](studio)


if __name__ == "__main__":
    main()
