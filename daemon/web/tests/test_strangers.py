"""Pages of somebody else in a real browser: whichever way one takes to the daemon, it reads nothing of it and generates nothing.

`evil.example` is 127.0.0.1 to this browser (conftest.py), as to one whose owner looks a name up that its owner has pointed there.
"""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import EVIL, Vault, tiny

# Without an icon of its own the browser would ask for one, sooner or later.
PAGE = "<!doctype html><title>evil</title><link rel=icon href='data:,'>"
# What a page can do without being asked: read, ask as a form does, ask blindly, ask as an application does, which is asked for first.
TRY = """
async (target) => {
    const body = JSON.stringify({ prompt: "stolen", model: "tiny", max_tokens: 2 });
    const [text, json] = ["text/plain", "application/json"].map((type) => ({ method: "POST", headers: { "Content-Type": type }, body }));
    const ways = {
        reads: ["/interactions", {}],
        "reads the newest": ["/interactions?limit=1", { cache: "no-store" }],
        "reads models": ["/v1/models", {}],
        "asks as a form": ["/generate", text],
        "asks blindly": ["/generate", { ...text, mode: "no-cors" }],
        asks: ["/generate", json],
        "asks for a stream": ["/stream-generate", json],
        "asks as OpenAI's clients": ["/v1/completions", json],
    };
    const got = {};
    for (const [way, [path, options]] of Object.entries(ways)) {
        try {
            const answer = await fetch(target + path, options);
            got[way] = { status: answer.status, text: await answer.text() };
        } catch (error) {
            got[way] = { refused: error.name };
        }
    }
    return got;
}
"""


class Stranger(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_):
        pass


@contextmanager
def stranger(port=0):
    """A server that isn't the daemon's, and its port."""
    with ThreadingHTTPServer(("127.0.0.1", port), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def open_evil(browser):
    """Opens a stranger's page by its port."""
    contexts = []

    def open_at(port):
        contexts.append(browser.new_context())
        page = contexts[-1].new_page()
        page.goto(f"http://{EVIL}:{port}/")
        return page

    yield open_at
    for context in contexts:
        context.close()


def attack(page, target):
    """Has a page try everything: what it got, and what the daemon told the browser: method and status of each request."""
    session = page.context.new_cdp_session(page)
    methods, told = {}, {}
    # What the network said, also where the page isn't shown it.
    session.on("Network.requestWillBeSent", lambda event: methods.setdefault(event["requestId"], event["request"]["method"]))
    # What is told of the page itself may come late.
    session.on("Network.responseReceivedExtraInfo", lambda event: told.setdefault(event["requestId"], event["statusCode"]))
    session.send("Network.enable")
    got = page.evaluate(TRY, target)
    page.wait_for_timeout(200)
    return got, sorted((methods[request], status) for request, status in told.items() if request in methods)


def check_nothing_was_had(vault, before, got, told):
    assert vault.newest() == before, "nothing was generated"
    assert len(told) == len(got) == 8 and {status for _, status in told} == {403}, told
    assert not any("stolen" in answer.get("text", "") or "secret" in answer.get("text", "") for answer in got.values()), got


def check_shown_nothing(got):
    """Of what is another server's a browser shows a page nothing that doesn't say it may be; what is asked blindly is never shown."""
    assert got.pop("asks blindly") == {"status": 0, "text": ""}
    assert all(answer == {"refused": "TypeError"} for answer in got.values()), got


def test_a_page_elsewhere_gets_nothing_from_the_daemons_own_address(vault, open_evil):
    vault.generate("secret")
    before = vault.newest()
    with stranger() as port:
        got, told = attack(open_evil(port), vault.url)
    check_nothing_was_had(vault, before, got, told)
    check_shown_nothing(got)
    assert [method for method, _ in told] == ["GET"] * 3 + ["OPTIONS"] * 3 + ["POST"] * 2, "JSON is asked for first, and not sent"


def test_a_page_elsewhere_gets_nothing_under_its_own_name(vault, open_evil):
    vault.generate("secret")
    before = vault.newest()
    with stranger() as port:
        got, told = attack(open_evil(port), f"http://{EVIL}:{vault.port}")
    check_nothing_was_had(vault, before, got, told)
    check_shown_nothing(got)


def test_a_page_whose_name_was_pointed_at_this_machine_gets_nothing(tmp_path, open_evil):
    vault = Vault(tmp_path, "tiny", {"tiny": tiny()})
    with stranger(vault.port) as port:
        page = open_evil(port)
    # Where its own server was, there is a daemon now: to the browser the same server, which it asks without asking first, and whose answers it shows.
    with vault:
        vault.generate("secret")
        before = vault.newest()
        got, told = attack(page, f"http://{EVIL}:{vault.port}")
        check_nothing_was_had(vault, before, got, told)
    assert [method for method, _ in told] == ["GET"] * 3 + ["POST"] * 5
    blind = got.pop("asks blindly")
    assert all(answer["status"] == 403 and '"code":"forbidden"' in answer["text"] for answer in [blind, *got.values()]), got
