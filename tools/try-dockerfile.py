#!/usr/bin/env python3
"""Tries the Dockerfile where there is no Docker: try-dockerfile.py MODEL [FOLDER]

Reads the Dockerfile and does what its instructions say, one by one, in bare Debians that debootstrap makes; then starts the entrypoint as Docker
would, as the image's user and as the first process of a process namespace, with no key (it must not start) and with one; asks its health, and
MODEL, a GGUF file mounted into the container, for an answer; and stops it with SIGTERM. Ends with 0 where all of that worked. Needs root.

What differs from Docker: `debian:NAME-slim` is debootstrap's smallest Debian, `rust:1-slim-NAME` is the same with gcc and with this machine's own
toolchain (RUSTUP_HOME, CARGO_HOME) bound into it; layers aren't kept, but cache mounts are, below FOLDER, and those of cargo's registry and of
ccache are this machine's own. The network is the machine's. An instruction or an option that isn't known here is refused by name.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import string
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PORT = 8000
KEY = "sk-tried"
HOME = Path.home()
# Cache mounts that this machine has filled already.
OWN_CACHES = {
    "/usr/local/cargo/registry": Path(os.environ.get("CARGO_HOME", HOME / ".cargo")) / "registry",
    "/root/.cache/ccache": Path(os.environ.get("CCACHE_DIR", HOME / ".cache/ccache")),
}
TOOLCHAIN = {
    "/usr/local/rustup": Path(os.environ.get("RUSTUP_HOME", HOME / ".rustup")),
    "/usr/local/cargo/bin": Path(os.environ.get("CARGO_HOME", HOME / ".cargo")) / "bin",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def give_up(why):
    sys.exit(f"try-dockerfile: {why}")


def instructions(text):
    """(NAME, rest) of each; a line that ends with \\ goes on, and comments between its parts are left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\s*\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def ignored(path):
    """Whether .dockerignore keeps a path, or a folder that it is in, out of the context."""
    rules = [line.strip() for line in (REPOSITORY / ".dockerignore").read_text().splitlines()]
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    parts = Path(path).parts
    return any(fnmatch.fnmatch("/".join(parts[:count]), rule) for rule in rules for count in range(1, len(parts) + 1))


def options(rest):
    """The `--name=value` that an instruction begins with, as a list, and what follows."""
    found = []
    while match := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
        found.append(match.groups())
        rest = rest[match.end() :]
    return found, rest


class Stage:
    """A folder that is becoming an image, and what the instructions have said of it."""

    def __init__(self, folder, image):
        self.root = folder
        self.environment, self.workdir, self.user = {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive"}, "/", None
        self.entrypoint = self.healthcheck = None
        self.arguments, self.volumes, self.ports, self.bound = {}, [], [], {}
        if match := re.fullmatch(r"(rust:1|debian:([a-z]+))-slim(?:-([a-z]+))?", image):
            codename = match[2] or match[3]
        else:
            give_up(f"no debootstrap makes the image {image}; debian:NAME-slim and rust:1-slim-NAME are known")
        base = folder.parent / codename
        subprocess.run([REPOSITORY / "tools/bare-debian.sh", codename, base], check=True)
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", base, self.root], check=True)
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        if match[1] == "rust:1":
            self.bound = TOOLCHAIN
            self.environment.update(RUSTUP_HOME="/usr/local/rustup", CARGO_HOME="/usr/local/cargo", PATH=f"/usr/local/cargo/bin:{PATH}", HOME="/root")
            self.run("apt-get update -qq && apt-get install -qq -y --no-install-recommends ca-certificates gcc libc6-dev >/dev/null", [])

    def command(self, words, mounts=(), pids=False):
        """A command line that runs words in this folder, with mounts that end with it; the first process of a namespace where that is wished."""
        script = [f"mount -t proc proc {self.root}/proc"]
        for target, source in mounts:
            here = shlex.quote(f"{self.root}{target}")
            make = f"mkdir -p {here}" if source.is_dir() else f"mkdir -p $(dirname {here}) && touch {here}"
            script.append(f"{make} && mount --bind {shlex.quote(str(source))} {here}")
        user = f"--userspec={self.user}:{self.user}" if self.user else "--userspec=0:0"
        inside = f"cd {shlex.quote(self.workdir)} && exec {shlex.join(words)}"
        script.append(f"exec chroot {user} {self.root} /bin/sh -c {shlex.quote(inside)}")
        namespaces = ["--mount", "--propagation", "private"] + (["--pid", "--fork", "--kill-child"] if pids else [])
        return ["unshare", *namespaces, "/bin/sh", "-ec", "\n".join(script)]

    def run(self, command, mounts):
        mounts = [*self.bound.items(), *mounts]
        environment = {**self.arguments, **self.environment}
        done = subprocess.run(self.command(["/bin/sh", "-c", command], mounts), env=environment, stdin=subprocess.DEVNULL)
        if done.returncode:
            give_up(f"RUN ended with status {done.returncode}: {command}")

    def copy(self, sources, target, stages, chosen):
        """COPY: files of the context, or of another stage."""
        into = self.root / os.path.join(self.workdir, target).lstrip("/")
        for name in sources:
            if chosen:
                origin = stages[chosen].root / name.lstrip("/")
                place = into / origin.name if target.endswith("/") else into
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, place)
                continue
            origin = REPOSITORY / name
            files = [origin] if origin.is_file() else [path for path in walk(origin)]
            if not files:
                give_up(f"COPY {name}: there is no such file")
            for path in files:
                inner = path.name if path == origin else path.relative_to(origin)
                place = into / inner if target.endswith("/") or len(files) > 1 else into
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, place)


def walk(folder):
    for path in sorted(folder.iterdir()):
        if ignored(path.relative_to(REPOSITORY)):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from walk(path)
        elif path.name != ".git":
            yield path


def build(folder):
    """Does what the Dockerfile says; the last stage."""
    defaults, stages, stage = {}, {}, None
    fill = lambda text, known: string.Template(text).safe_substitute(known)  # noqa: E731
    for name, rest in instructions((REPOSITORY / "Dockerfile").read_text()):
        print(f"== {name} {rest}", flush=True)
        known = {**defaults} if stage is None else {**stage.environment, **stage.arguments}
        if name == "ARG":
            key, _, value = rest.partition("=")
            (defaults if stage is None else stage.arguments)[key] = value.strip('"')
        elif name == "FROM":
            image, _, title = fill(rest, defaults).partition(" AS ")
            stage = Stage(folder / (title or "image"), image)
            stages[title] = stage
        elif name == "WORKDIR":
            stage.workdir = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "ENV":
            stage.environment.update(word.split("=", 1) for word in shlex.split(fill(rest, known)))
        elif name == "USER":
            stage.user = rest
        elif name == "RUN":
            chosen, command = options(rest)
            stage.run(command, [cache(folder, kind, told) for kind, told in chosen])
        elif name == "COPY":
            chosen, words = options(rest)
            if unknown := [kind for kind, _ in chosen if kind != "from"]:
                give_up(f"COPY --{unknown[0]} isn't known here")
            *sources, target = shlex.split(words)
            stage.copy(sources, target, stages, dict(chosen).get("from"))
        elif name == "VOLUME":
            stage.volumes += json.loads(rest)
        elif name == "EXPOSE":
            stage.ports.append(int(rest))
        elif name == "HEALTHCHECK":
            stage.healthcheck = json.loads(rest.partition("CMD ")[2])
        elif name == "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        else:
            give_up(f"the instruction {name} isn't known here")
    return stage


def cache(folder, kind, told):
    """A cache mount of RUN: where it is in the image, and where on this machine."""
    told = dict(part.split("=", 1) for part in told.split(","))
    if kind != "mount" or told.get("type") != "cache":
        give_up(f"RUN --{kind} of type {told.get('type')} isn't known here")
    source = OWN_CACHES.get(told["target"], folder / "caches" / told["target"].strip("/").replace("/", "-"))
    source.mkdir(parents=True, exist_ok=True)
    return told["target"], source


class Container:
    """The image's entrypoint, running with empty volumes and a model, while the `with` block lasts."""

    def __init__(self, image, folder, model, environment, *arguments):
        self.image, mounts = image, []
        for volume in image.volumes:
            # As Docker fills a new volume: with what the image has there, owner and mode included.
            own = folder / "volumes" / volume.strip("/").replace("/", "-")
            shutil.rmtree(own, ignore_errors=True)
            own.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", f"{image.root}{volume}", own], check=True)
            mounts.append((volume, own))
        mounts.append(("/models/model.gguf", model))
        self.environment = {**image.environment, **environment}
        command = image.command([*image.entrypoint, *arguments], mounts, pids=True)
        self.process = subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # unshare takes the daemon along.
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def first(self):
        """The daemon's process, which is number 1 to itself."""
        number = self.process.pid
        return int(Path(f"/proc/{number}/task/{number}/children").read_text().split()[0])

    def healthy(self):
        """What Docker's health check would find, from within."""
        asked = ["nsenter", "--target", str(self.first()), "--mount", "--pid", "chroot", f"--userspec={self.image.user}:{self.image.user}", self.image.root]
        return subprocess.run([*asked, *self.image.healthcheck], env=self.environment, capture_output=True).returncode == 0


def ask(path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {KEY}")
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def wait_for(what, patience=60):
    for _ in range(patience * 5):
        try:
            if found := what():
                return found
        except (urllib.error.URLError, OSError, IndexError):
            pass
        time.sleep(0.2)
    give_up(f"this didn't come in {patience} seconds: {what.__name__}")


def check(holds, what):
    print(f"{'ok' if holds else 'WRONG'}: {what}", flush=True)
    if not holds:
        give_up(what)


def try_image(image, folder, model):
    check(image.ports == [PORT], f"the image says that it listens on {PORT}")
    model_settings = {"MINIVAULTD_ENGINES__SMOLLM2__BACKEND": "llama-cpp", "MINIVAULTD_ENGINES__SMOLLM2__MODEL": "/models/model.gguf"}
    with Container(image, folder, model, model_settings, "--engine", "smollm2") as refused:
        said, code = refused.process.communicate(timeout=60)[1], refused.process.returncode
        check(code != 0 and "key" in said, f"without a key it doesn't start: {said.strip()}")
    with Container(image, folder, model, {**model_settings, "MINIVAULTD_SERVER__KEYS": KEY}, "--engine", "smollm2") as running:
        wait_for(lambda: ask("/health")["status"] == "ok")
        check(wait_for(running.healthy, 20), "it is healthy by its own check")
        wait_for(lambda: ask("/ready")["status"] == "ready")
        users = re.search(r"^Uid:\s+(\d+)", Path(f"/proc/{running.first()}/status").read_text(), re.MULTILINE)
        check(users[1] == "10001", f"it runs as user {users[1]}")
        answer = ask("/generate", {"prompt": "The capital of France is", "temperature": 0, "max_tokens": 8})
        check("Paris" in answer["response"], f"it answers: {answer['response']!r}")
        os.kill(running.first(), signal.SIGTERM)
        begun = time.monotonic()
        said = running.process.communicate(timeout=30)[1]
        check(running.process.returncode == 0, f"SIGTERM ends it after {time.monotonic() - begun:.1f} s with status {running.process.returncode}")
        check("1 interactions were logged" in said, f"it says at its end: {said.strip().splitlines()[-1]}")
    log = folder / "volumes/var-lib-minivault/logs/log.jsonl"
    check("Paris" in log.read_text(), "the answer is in the volume's log")


def main():
    if len(sys.argv) not in (2, 3) or os.geteuid() != 0:
        give_up("usage, as root: try-dockerfile.py MODEL [FOLDER]")
    model, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2] if len(sys.argv) == 3 else "/var/tmp/minivault-docker").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    image = build(folder)
    size = subprocess.run(["du", "-sm", image.root], capture_output=True, text=True, check=True).stdout.split()[0]
    print(f"the image's files take {size} MB")
    try_image(image, folder, model)
    print("the Dockerfile builds an image that serves, and stops")


if __name__ == "__main__":
    main()
