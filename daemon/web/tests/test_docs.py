"""/docs as a person reads it."""

import json
import re
import urllib.error

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import Vault, tiny
from playwright.sync_api import expect

expect.set_options(timeout=30_000)


def check_accessible(page, where):
    found = Axe().run(page).response["violations"]
    serious = {fault["id"]: [node["html"][:160] for node in fault["nodes"]] for fault in found if fault["impact"] in ("serious", "critical")}
    assert not serious, (where, serious)


@pytest.fixture
def docs(vault, open_page):
    page = open_page(vault.url, "/docs")
    page.locator(".operation").first.wait_for()
    return page


def test_everything_that_the_daemon_says_of_its_routes_is_shown(docs, vault):
    document = json.loads(vault.ask("/openapi.json"))
    text = docs.text_content("#content")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert path in text and operation["summary"].replace("`", "") in text, (method, path)
    assert docs.locator("#routes a").count() == docs.locator(".operation").count() >= 20
    generate = docs.locator("#post-generate")
    generate.locator("summary").first.click()
    fields = document["components"]["schemas"]["GenerateBody"]["properties"]
    told = generate.locator("tbody").first.locator("th").all_text_contents()
    assert [name.removesuffix("required") for name in told] == list(fields)
    codes = {code for one in document["components"]["responses"].values() for code in one["content"]["application/json"].get("examples", {})}
    shown = {one.get_attribute("data-code") for one in docs.locator("[data-code]").all()}
    assert codes == shown and {"invalid_request", "rate_limited", "timeout"} <= codes
    refused = generate.locator(".status", has_text="Too many requests wait already")
    refused.locator("summary").click()
    expect(refused.locator("[data-code=overloaded]")).to_contain_text("64 requests wait already")


def test_a_type_within_a_type_is_opened(docs):
    chat = docs.locator("#post-v1-chat-completions")
    chat.locator("summary").first.click()
    row = chat.locator("tr", has=docs.locator("th", has_text=re.compile("^messages"))).first
    row.locator(".nested > summary").first.click()
    expect(row.locator(".nested th", has_text=re.compile("^role"))).to_be_visible()


def test_its_curl_lines_are_right(docs, vault):
    lines = {name: docs.locator(f"#{name} .line pre").text_content() for name in ["post-generate", "post-tokenize", "post-v1-chat-completions", "get-ready"]}
    assert lines["get-ready"] == f"curl {vault.url}/ready"
    for name in ["post-generate", "post-tokenize", "post-v1-chat-completions"]:
        method, path, body = re.fullmatch(r"curl -X (\w+) http://[^/]+(\S+) -H 'Content-Type: application/json' -d '(.*)'", lines[name]).groups()
        assert method == "POST"
        # Answered, or refused for what stands in it: short answers, so that it doesn't take long.
        assert json.loads(vault.ask(path, {"max_tokens": 2, "model": "tiny", **json.loads(body)} if "tokenize" not in path else json.loads(body)))
    docs.locator("#post-generate summary").first.click()
    docs.locator("#post-generate .line button").click()
    expect(docs.locator("#post-generate .line button")).to_have_text(re.compile("Copied|Ctrl"))


def test_the_search_leaves_what_has_all_the_words(docs):
    docs.keyboard.press("/")
    expect(docs.locator("#search")).to_be_focused()
    docs.keyboard.type("frequency_penalty chat")
    expect(docs.locator("#found")).to_have_text(re.compile(r"\d+ routes?$"))
    expect(docs.locator("#post-v1-chat-completions")).to_be_visible()
    expect(docs.locator("#get-metrics")).to_be_hidden()
    docs.fill("#search", "not_replayable")
    expect(docs.locator(".operation:visible")).not_to_have_count(0)
    expect(docs.locator("#post-generate")).to_be_hidden()
    docs.fill("#search", "nosuchword")
    expect(docs.locator("#found")).to_have_text("0 routes")
    docs.press("#search", "Escape")
    expect(docs.locator("#post-generate")).to_be_visible()


def test_an_address_leads_to_a_route_and_the_keyboard_opens_it(open_page, vault):
    page = open_page(vault.url, "/docs#get-interactions")
    expect(page.locator("#get-interactions")).to_have_attribute("open", "")
    expect(page.locator("#get-interactions > summary")).to_be_focused()
    expect(page.locator("#get-interactions th", has_text="grep")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#get-interactions th", has_text="grep")).to_be_hidden()
    page.focus("#routes a[href='#get-ready']")
    page.keyboard.press("Enter")
    expect(page.locator("#get-ready")).to_have_attribute("open", "")


def test_a_daemon_with_keys_asks_for_one(open_page, tmp_path):
    vault = Vault(tmp_path, "tiny", {"tiny": tiny()}, keys=["sk-right"])
    vault.key = "sk-right"
    with vault:
        with pytest.raises(urllib.error.HTTPError):
            vault.ask("/openapi.json")
        page = open_page(vault.url, "/docs")
        problem = page.locator("main > .problem")
        expect(problem).to_contain_text("an API key is needed")
        page.fill("#key", "sk-wrong")
        page.press("#key", "Enter")
        expect(problem).to_contain_text("the API key isn't")
        page.fill("#key", "sk-right")
        page.press("#key", "Enter")
        expect(page.locator("#post-generate")).to_be_visible()
        expect(problem).to_be_hidden()
        assert "$MINIVAULT_API_KEY" in page.locator("#post-generate .line pre").text_content()
        assert "$MINIVAULT_API_KEY" not in page.locator("#get-health .line pre, #get-v1-health .line pre").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, vault, scheme):
    page = open_page(vault.url, "/docs", color_scheme=scheme)
    page.locator(".operation").first.wait_for()
    for opened in [False, True]:
        if opened:
            page.evaluate("document.querySelectorAll('#post-generate, #post-generate details, #get-interactions, #post-v1-chat-completions').forEach((one) => { one.open = true })")
            page.locator("#post-generate .status").first.wait_for()
        check_accessible(page, f"opened: {opened}")


def test_a_phone_shows_all_of_it(open_page, vault):
    page = open_page(vault.url, "/docs#post-generate", viewport={"width": 360, "height": 740}, has_touch=True)
    page.locator("#post-generate[open]").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    check_accessible(page, "a phone")


def test_the_first_load_is_small(docs):
    sizes = docs.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].map((entry) => [entry.name, entry.decodedBodySize])"
    )
    assert any("openapi.json" in name for name, _ in sizes)
    assert 30_000 < sum(size for _, size in sizes) < 200_000, sizes
