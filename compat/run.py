#!/usr/bin/env python3
"""Runs the suites of others against real daemons and prints one table.

    run.py --folder target/compat --minivaultd target/debug/minivaultd [--only NAME]... [-- words for pytest]

install.sh has put into the folder what they need. Ends with 0 where nothing failed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import harness.suite
from daemon import SMOLLM2, Daemon, gpt2
from outcome import Outcome, of_junit, table

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
# A suite that takes longer hangs.
LONGEST = 1800


class Suites:
    """The suites by their names in the table, with underscores."""

    def __init__(self, folder, minivaultd, words):
        self.folder = folder
        self.minivaultd = minivaultd
        self.words = words
        self.python = folder / "venv/bin/python"

    def openai_python(self):
        """openai-python's own tests. They ask for models by OpenAI's names, and set no limit to what a chat answers."""
        folder = self.folder / "openai"
        tests = [f"tests/api_resources/{name}.py" for name in ("test_completions", "chat/test_completions", "test_models")]
        options = ["-o", "addopts=", "-o", "filterwarnings=default"]
        with self.daemon("openai-python", aliases={"*": "smollm2"}, context=256) as daemon:
            return self.pytest("openai-python", [*tests, *options], folder, {"TEST_API_BASE_URL": f"{daemon.url}/v1"})

    def langchain(self):
        """langchain-tests' integration tests for ChatOpenAI. SmolLM2's own chat template knows no tools."""
        model = {"context": 1024, "chat_template": str(HERE / "langchain/chat.jinja")}
        engines = {"smollm2": model, "another": {**SMOLLM2, **model}}
        # The client keeps its connections from one test to the next, so all tests share one loop.
        options = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_test_loop_scope=session", "-o", "asyncio_default_fixture_loop_scope=session"]
        with Daemon(self.minivaultd, self.run_folder("langchain"), engine="smollm2", engines=engines) as daemon:
            return self.pytest("langchain", [HERE / "langchain", *options], HERE, self.at(daemon))

    def llama_cpp(self):
        """llama.cpp's tests of its server, each with a server of its own."""
        folder = self.folder / "llama.cpp/tools/server/tests"
        # As there, a file: its path is what /props tells.
        pull = subprocess.run([self.minivaultd, "pull", "smollm2"], cwd=self.run_folder("llama.cpp"), stdout=subprocess.PIPE, text=True, check=True)
        names = self.words or [f"unit/test_{name}.py" for name in ("chat_completion", "completion", "security", "basic", "tokenize")]
        environment = {
            "LLAMA_SERVER_BIN_PATH": str(HERE / "llama_server/llama-server"),
            "COMPAT_MINIVAULTD": str(self.minivaultd),
            "COMPAT_FOLDER": str(self.run_folder("llama.cpp")),
            "COMPAT_SMOLLM2": pull.stdout.splitlines()[-1],
            "PYTHONPATH": f"{HERE}:{HERE / 'llama_server'}:{folder}",
            "PORT": "18080",
        }
        return self.pytest("llama.cpp", [*names, "-p", "readiness"], folder, environment)

    def clients(self):
        """A conversation with each client."""
        with self.daemon("clients") as daemon:
            environment = self.at(daemon)
            outcome = self.pytest("clients", [HERE / "clients/test_clients.py"], HERE, environment)
            python = self.folder / "instructor/bin/python"
            outcome.add(self.pytest("instructor", [HERE / "clients/test_instructor.py"], HERE, environment, python))
            return outcome.add(self.node("node", environment))

    def ollama(self):
        """What knows only Ollama: its own two clients, and LangChain's."""
        engines = {"smollm2": {"context": 1024, "chat_template": str(HERE / "langchain/chat.jinja")}, "embedder": {**SMOLLM2, "pooling": "mean"}}
        with Daemon(self.minivaultd, self.run_folder("ollama"), engine="smollm2", engines=engines) as daemon:
            environment = {**self.at(daemon), "COMPAT_OLLAMA": daemon.url}
            outcome = self.pytest("ollama", [HERE / "clients/test_ollama.py"], HERE, environment)
            return outcome.add(self.node("ollama", environment))

    def lm_eval(self):
        """lm-evaluation-harness, beside what Transformers makes of the same task."""
        model = os.environ.get("MINIVAULT_TEST_TAROTBLE")
        if not model:
            return Outcome(left_out=Counter({"MINIVAULT_TEST_TAROTBLE names no folder": 1}))
        folder = self.run_folder("lm-eval")
        environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(self.folder / "huggingface"), "TOKENIZERS_PARALLELISM": "false"}
        with Daemon(self.minivaultd, folder, engine="tarotble", engines={"tarotble": gpt2(model)}) as daemon:
            command = lambda words: self.run("lm-eval", words, HERE, environment)
            return harness.suite.run(command, self.python, model, daemon.url, folder)

    def schemathesis(self):
        """Our own /openapi.json, asked for everything it says and some things it doesn't."""
        tiny = REPOSITORY / "engines/tests/data/gpt2-tiny"
        report = self.run_folder("schemathesis") / "junit.xml"
        report.unlink(missing_ok=True)
        with Daemon(self.minivaultd, self.run_folder("schemathesis"), engine="tiny", engines={"tiny": gpt2(tiny)}) as daemon:
            command = [self.folder / "venv/bin/schemathesis", "run", f"{daemon.url}/openapi.json", *self.words]
            # Fitting data may still be refused, for example because the model has no such name or the context is too short.
            command += ["--exclude-checks", "not_a_server_error,positive_data_acceptance", "--phases", "examples,coverage,fuzzing"]
            command += ["--max-examples", "50", "--seed", "1", "--continue-on-failure", "--no-color", "--request-timeout", "60"]
            command += ["--report", "junit", "--report-junit-path", report]
            environment = {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE / "schema")}
            self.run("schemathesis", command, self.run_folder("schemathesis"), environment)
        return of_junit(report)

    def daemon(self, suite, aliases=None, **more):
        """A daemon on SmolLM2. A short context keeps answers short where a test sets no limit."""
        keys = {"engine": "smollm2", "engines": {"smollm2": {"context": 512, **more}}, "aliases": aliases}
        return Daemon(self.minivaultd, self.run_folder(suite), **keys)

    def at(self, daemon):
        return {"COMPAT_BASE_URL": f"{daemon.url}/v1", "COMPAT_MODEL": "smollm2", "COMPAT_NODE": str(self.folder / "node")}

    def run_folder(self, suite):
        folder = self.folder / "runs" / suite
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def pytest(self, suite, arguments, folder, environment, python=None):
        """Runs tests, but for those that deselected/SUITE.txt lists."""
        run = self.run_folder(suite)
        junit, report = run / "junit.xml", run / "deselected.json"
        junit.unlink(missing_ok=True)
        report.unlink(missing_ok=True)
        chosen = HERE / f"deselected/{suite}.txt"
        environment = {"PYTHONPATH": str(HERE), **environment, "COMPAT_DESELECTED": str(chosen), "COMPAT_REPORT": str(report)}
        if self.words:
            environment["COMPAT_PART"] = "1"
        command = [python or self.python, "-m", "pytest", "-q", "--tb=short", "--color=no", "-p", "no:cacheprovider", "-o", "xfail_strict=false"]
        command += ["--junitxml", junit] + (["-p", "chosen"] if chosen.exists() else [])
        self.run(suite, [*command, *arguments, *self.words], folder, environment)
        outcome = of_junit(junit) if junit.exists() else Outcome(failed=[f"no test ran; see {run / 'output.txt'}"])
        if report.exists():
            outcome.left_out += Counter(json.loads(report.read_text()).values())
        return outcome

    def node(self, name, environment):
        """The Node clients' tests in clients/NAME.test.mjs."""
        if not shutil.which("node"):
            return Outcome(left_out=Counter({"node is not installed": 1}))
        junit = self.run_folder(f"{name}-node") / "junit.xml"
        junit.unlink(missing_ok=True)
        reporter = ["--test-reporter=junit", f"--test-reporter-destination={junit}"]
        self.run(f"{name}-node", ["node", "--test", *reporter, HERE / f"clients/{name}.test.mjs"], HERE, environment)
        return of_junit(junit)

    def run(self, suite, command, folder, environment):
        """Runs a command; what it prints goes into runs/SUITE/output.txt."""
        output = self.run_folder(suite) / "output.txt"
        print(f"compat: {suite} runs; its output is in {output}", file=sys.stderr, flush=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MINIVAULTD_", "OPENAI_", "PYTEST_"))}
        with output.open("w") as file:
            words = [str(word) for word in command]
            return subprocess.run(words, cwd=folder, env={**kept, **environment}, stdout=file, stderr=file, timeout=LONGEST).returncode


NAMES = {
    "openai-python": Suites.openai_python,
    "langchain": Suites.langchain,
    "llama.cpp": Suites.llama_cpp,
    "clients": Suites.clients,
    "ollama": Suites.ollama,
    "lm-eval": Suites.lm_eval,
    "schemathesis": Suites.schemathesis,
}


def main():
    parser = argparse.ArgumentParser(description="Runs the suites of others against minivaultd.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--minivaultd", type=Path, required=True)
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("words", nargs="*", help="words for the suite's own program, such as `-k NAME`, behind `--`")
    arguments = parser.parse_args()
    suites = Suites(arguments.folder.resolve(), arguments.minivaultd.resolve(), arguments.words)
    outcomes = {}
    for name in arguments.only or NAMES:
        try:
            outcomes[name] = NAMES[name](suites)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            outcomes[name] = Outcome(failed=[str(error)])
    print(table(outcomes))
    return 1 if any(outcome.failed for outcome in outcomes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
