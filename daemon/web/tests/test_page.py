"""The page as a person uses it: a real browser, a real daemon, real models."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import Vault, tiny
from playwright.sync_api import expect

# Machines that test are busy.
expect.set_options(timeout=30_000)

VIEWS = ["prompt", "chat", "compare", "vault", "metrics"]


def choose(page, **settings):
    """Fills settings in; `engine` among them."""
    for name, value in settings.items():
        field = page.locator(f"#{name}")
        if name == "engine":
            field.select_option(value)
        elif isinstance(value, bool):
            field.set_checked(value)
        else:
            field.fill(str(value))


def finished(page, selector):
    """Once an answer's measures say how it ended."""
    measures = page.locator(selector)
    expect(measures).to_contain_text("ended by", timeout=60_000)
    return measures.text_content()


def check_accessible(page, where):
    """No serious finding of axe's, and a label for each field: to axe a placeholder is one, too."""
    found = Axe().run(page).response["violations"]
    serious = {fault["id"]: [node["html"][:160] for node in fault["nodes"]] for fault in found if fault["impact"] in ("serious", "critical")}
    assert not serious, (where, serious)
    fields = "[...document.querySelectorAll('input, select, textarea')].filter((field) => !field.labels.length).map((field) => field.id)"
    assert page.evaluate(fields) == [], where


def test_a_prompt_is_answered_piece_by_piece_as_the_daemon_answers_it_whole(page, vault):
    prompt = "The capital of France is"
    whole = json.loads(vault.ask("/generate", {"prompt": prompt, "max_tokens": 12, "temperature": 0}))["response"]
    page.evaluate(
        """() => {
            window.lengths = new Set();
            const answer = document.querySelector("#prompt-answer");
            const look = () => window.lengths.add(answer.textContent.length);
            new MutationObserver(look).observe(answer, { childList: true, characterData: true, subtree: true });
        }"""
    )
    choose(page, max_tokens=12, temperature=0)
    page.fill("#prompt-text", prompt)
    page.press("#prompt-text", "Control+Enter")
    measures = finished(page, "#prompt-measures")
    assert page.text_content("#prompt-answer") == whole
    assert page.evaluate("window.lengths.size") > 3, "it came in pieces"
    assert re.search(r"12 tokens · [\d.,]+ tokens/s · first token after [\d.]+ m?s · [\d.]+ m?s in all · ended by length", measures), measures
    expect(page.locator("#announcer")).to_contain_text(whole.strip()[:20])
    line = vault.newest()
    assert (line["endpoint"], line["prompt"], line["request"]["temperature"]) == ("/stream-generate", prompt, 0)


def test_every_setting_arrives(page, vault):
    seed = 18446744073709551615  # 64 bits, more than a number in JavaScript has.
    choose(page, engine="tiny", max_tokens=5, seed=seed, temperature=0.7, top_k=9, top_p=0.8, min_p=0.01, repetition_penalty=1.2)
    choose(page, presence_penalty=0.3, frequency_penalty=0.4, stop="\\n\\nEnd\nQ:", logit_bias="7: -100, 9: 2.5", ignore_eos=True, deterministic=True)
    page.fill("#prompt-text", "abc")
    page.click("#prompt-form [data-send]")
    expect(page.locator("#prompt-measures")).to_contain_text(f"seed {seed}")
    request = vault.newest()["request"]
    told = {name: request[name] for name in ["max_tokens", "top_k", "seed", "stop", "ignore_eos", "deterministic"]}
    assert told == {"max_tokens": 5, "top_k": 9, "seed": seed, "stop": ["\n\nEnd", "Q:"], "ignore_eos": True, "deterministic": True}
    for name, value in [("temperature", 0.7), ("top_p", 0.8), ("min_p", 0.01), ("repetition_penalty", 1.2), ("presence_penalty", 0.3)]:
        assert request[name] == pytest.approx(value), name
    assert request["frequency_penalty"] == pytest.approx(0.4) and len(request["logit_bias"]) == 2
    # They are still there when the page is loaded again, and gone where that is wished.
    page.reload()
    expect(page.locator("#top_k")).to_have_value("9")
    expect(page.locator("#engine")).to_have_value("tiny")
    page.click("text=As configured")
    expect(page.locator("#top_k")).to_have_value("")


@pytest.mark.parametrize("how", ["button", "key"])
def test_an_answer_is_stopped(page, vault, how):
    choose(page, max_tokens=800, ignore_eos=True)
    page.fill("#prompt-text", "Once upon a time")
    page.press("#prompt-text", "Control+Enter")
    expect(page.locator("#prompt-answer")).not_to_be_empty()
    if how == "button":
        page.click("#prompt-form [data-stop]")
    else:
        page.keyboard.press("Escape")
    expect(page.locator("#prompt-measures")).to_contain_text("stopped")
    length = len(page.text_content("#prompt-answer"))
    expect(page.locator("#prompt-form [data-send]")).to_have_attribute("aria-disabled", "false")
    assert len(page.text_content("#prompt-answer")) == length > 0
    page.wait_for_function("async () => JSON.parse(await (await fetch('interactions?limit=1')).text()).finish_reason === 'cancelled'")


def test_tokens_tell_their_probabilities_to_mouse_keyboard_and_finger(page, vault):
    choose(page, engine="tiny", max_tokens=6, temperature=0)
    page.check("#show-tokens")
    page.fill("#prompt-text", "abc")
    page.press("#prompt-text", "Control+Enter")
    finished(page, "#prompt-measures")
    tokens, detail = page.locator("#prompt-answer .token"), page.locator("#token-detail")
    expect(tokens).to_have_count(6)
    tokens.nth(1).hover()
    expect(detail).to_be_visible()
    expect(detail).to_contain_text(re.compile(r"\d %.*logprob -?\d"))
    # Temperature 0 takes the likeliest, which stands first.
    expect(detail.locator("tr").first).to_have_class("taken")
    assert detail.locator("tr").count() >= 5
    page.mouse.move(1, 1)
    expect(detail).to_be_hidden()
    tokens.first.focus()
    first = detail.text_content()
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(1)).to_be_focused()
    assert detail.text_content() != first
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    tokens.nth(3).click()
    expect(detail).to_be_visible()
    assert vault.newest()["endpoint"] == "/v1/completions"
    # Without the tokens it is the same text: the settings are the daemon's on both routes.
    text = page.text_content("#prompt-answer")
    page.uncheck("#show-tokens")
    page.press("#prompt-text", "Control+Enter")
    page.wait_for_selector("#prompt-answer:not(:has(.token)):not([aria-busy])")
    finished(page, "#prompt-measures")
    assert vault.newest()["endpoint"] == "/stream-generate"
    if "\\x" not in text:
        assert page.text_content("#prompt-answer") == text


def test_a_conversation_remembers_and_begins_anew(page, vault):
    page.click("#tab-chat")
    choose(page, max_tokens=8, temperature=0)
    page.click("text=System message")
    page.fill("#chat-system", "You are brief.")
    for turn, words in enumerate(["Name a colour.", "Another one."]):
        page.fill("#chat-text", words)
        page.press("#chat-text", "Control+Enter")
        finished(page, "#chat-measures")
        expect(page.locator("#chat-messages li")).to_have_count(2 * turn + 2)
        page.evaluate("document.querySelector('#chat-measures').textContent = ''")
    said = page.locator("#chat-messages [data-role=assistant] .answer")
    messages = vault.newest()["request"]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"] == said.first.text_content()
    page.click("#chat-again")
    finished(page, "#chat-measures")
    expect(said).to_have_count(2)
    page.click("#chat-new")
    expect(page.locator("#chat-messages li")).to_have_count(0)
    page.goto(f"{vault.url}/#vault/{vault.newest()['id']}")
    page.click("text=Go on in the chat")
    expect(page.locator("#chat-system")).to_have_value("You are brief.")
    expect(page.locator("#chat-messages li")).to_have_count(4)


def test_two_engines_are_compared(page, vault):
    page.click("#tab-compare")
    expect(page.locator("#compare-b")).to_have_value("tiny")
    choose(page, max_tokens=6, temperature=0)
    page.fill("#compare-text", "The sea is")
    page.press("#compare-text", "Control+Enter")
    for side, engine in [("a", "smollm2"), ("b", "tiny")]:
        finished(page, f"#side-{side} .measures")
        expect(page.locator(f"#side-{side} h2")).to_contain_text(engine)
        expect(page.locator(f"#side-{side} .answer")).not_to_be_empty()
    expect(page.locator("#compare-verdict")).to_contain_text("part")
    expect(page.locator("#side-a mark")).to_have_count(1)
    page.select_option("#compare-a", "tiny")
    page.click("#compare-form [data-send]")
    expect(page.locator("#compare-verdict")).to_contain_text("Both say the same.")


def test_the_vault_is_searched_and_paged(page, vault):
    for number in range(25):
        vault.generate(f"needle {number}")
    vault.generate("hay")
    page.click("#tab-vault")
    page.fill("#vault-grep", "needle")
    page.press("#vault-grep", "Enter")
    lines = page.locator("#vault-lines li")
    expect(lines).to_have_count(20)
    expect(lines.first).to_contain_text("needle 24")
    page.click("#vault-older")
    expect(lines).to_have_count(5)
    expect(lines.last).to_contain_text("needle 0")
    expect(page.locator("#vault-older")).to_be_disabled()
    page.click("#vault-newer")
    expect(lines).to_have_count(20)
    page.fill("#vault-grep", "needle [34]$")
    page.check("#vault-regex")
    page.click("#vault-form [data-send]")
    expect(lines).to_have_count(2)
    page.click("text=More filters")
    page.fill("#vault-model", "smollm2")
    page.press("#vault-model", "Enter")
    expect(page.locator("#vault-told")).to_have_text("Nothing there.")
    page.fill("#vault-status", "many")
    page.press("#vault-status", "Enter")
    expect(page.locator("#view-vault > .problem")).to_contain_text("status is `many`; it must be a whole number")


def test_an_interaction_is_shown_and_had_again(page, vault):
    markup = "<img src=/x onerror=alert(1)><b>bold</b>"
    told = vault.generate(markup, model="smollm2", max_tokens=6, temperature=0)
    page.goto(f"{vault.url}/#vault/{told['id']}")
    shown = page.locator("#vault-shown")
    expect(shown.locator("pre").first).to_have_text(markup)
    assert shown.locator("img, b").count() == 0, "what stands in a log is text"
    expect(page.locator("#vault-response")).to_have_text(told["response"], use_inner_text=False)
    page.click("#replay")
    verdict = shown.locator(".verdict")
    expect(verdict).to_contain_text("Identical, token by token.")
    page.select_option("#replay-engine", "tiny")
    page.click("#replay")
    expect(verdict).to_contain_text("Another text.")
    expect(shown.locator("li")).not_to_have_count(0)
    marks = shown.locator(".parting mark")
    expect(marks).to_have_count(2)
    then, now = marks.all_text_contents()
    common = shown.locator(".parting pre").first.text_content().removesuffix(then)
    assert told["response"].startswith(common + then.removesuffix("…")) and then != now
    page.click("text=Use in the prompt")
    expect(page.locator("#prompt-text")).to_have_value(markup)
    expect(page.locator("#seed")).to_have_value(str(told["seed"]))
    expect(page.locator("#temperature")).to_have_value("0")


def test_errors_are_told_in_the_daemons_words(page, vault):
    page.fill("#prompt-text", "abc")
    problem = page.locator("#view-prompt > .problem")
    choose(page, engine="tiny", temperature=101)
    page.press("#prompt-text", "Control+Enter")
    expect(problem).to_have_text("temperature is 101; it must be between 0 and 100 invalid_request")
    choose(page, temperature="", max_tokens=4000)
    page.press("#prompt-text", "Control+Enter")
    expect(problem).to_contain_text("context_length_exceeded")
    choose(page, max_tokens="many")
    page.press("#prompt-text", "Control+Enter")
    expect(problem).to_have_text("Most tokens is “many”; it must be a number")
    choose(page, max_tokens=3)
    page.press("#prompt-text", "Control+Enter")
    finished(page, "#prompt-measures")
    expect(problem).to_be_hidden()
    page.goto(f"{vault.url}/#vault/no-such-thing")
    expect(page.locator("#view-vault > .problem")).to_contain_text("there is no interaction `no-such-thing`")


def test_a_daemon_that_goes_is_told_and_so_is_its_return(open_page, tmp_path):
    vault = Vault(tmp_path, "tiny", {"tiny": tiny()})
    with vault:
        page = open_page(vault.url)
        page.locator("#state[data-state=ready]").wait_for()
        page.fill("#prompt-text", "abc")
    notice = page.locator("#gone")
    expect(notice).to_contain_text("The daemon is gone.", timeout=15_000)
    expect(page.locator("#state")).to_have_text("Gone")
    page.press("#prompt-text", "Control+Enter")
    expect(page.locator("#view-prompt > .problem")).to_contain_text("The daemon doesn't answer.")
    with vault:
        expect(notice).to_have_text("The daemon is back.", timeout=15_000)
        expect(page.locator("#state")).to_have_text("Ready: tiny")
        page.press("#prompt-text", "Control+Enter")
        finished(page, "#prompt-measures")
        expect(notice).to_be_hidden(timeout=15_000)


def test_a_key_is_asked_for_and_kept_in_the_tab(open_page, tmp_path):
    vault = Vault(tmp_path, "tiny", {"tiny": tiny()}, keys=["sk-right"])
    vault.key = "sk-right"
    with vault:
        page = open_page(vault.url)
        dialog = page.locator("#key-dialog")
        for key in ["sk-wrong", "sk-right"]:
            expect(dialog).to_be_visible()
            expect(page.locator("#key-told")).to_contain_text("the API key isn't" if key == "sk-right" else "an API key is needed")
            check_accessible(page, "the dialog")
            page.fill("#key", key)
            page.press("#key", "Enter")
        expect(page.locator("#state")).to_have_text("Ready: tiny")
        expect(dialog).to_be_hidden()
        page.fill("#prompt-text", "abc")
        page.press("#prompt-text", "Control+Enter")
        finished(page, "#prompt-measures")
        page.reload()
        expect(page.locator("#state")).to_have_text("Ready: tiny")
        expect(dialog).to_be_hidden()


def test_what_is_measured_is_drawn(page, vault):
    page.click("#tab-metrics")
    vault.generate("abc", max_tokens=30)
    chart = page.locator("#charts figure", has_text="Tokens generated")
    expect(chart.locator("svg polyline")).not_to_have_count(0, timeout=15_000)
    expect(chart.locator(".legend")).to_contain_text("tiny")
    page.click("text=All numbers")
    expect(page.locator("#numbers")).to_contain_text("generated_tokens_total")


def test_the_keyboard_reaches_everything(page):
    page.focus("#tab-prompt")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-chat")).to_be_focused()
    expect(page.locator("#view-chat")).to_be_visible()
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#view-prompt")).to_be_visible()
    page.keyboard.press("Tab")
    reached = set()
    while not page.evaluate("document.activeElement === document.body"):
        name, outline = page.evaluate(
            "(({ activeElement: at }) => [at.id || at.textContent.trim(), getComputedStyle(at).outlineStyle])(document)"
        )
        assert name not in reached and outline != "none", f"the focus on {name} is seen, and goes on"
        reached.add(name)
        page.keyboard.press("Tab")
    assert {"prompt-text", "Generate", "Stop", "prompt-answer", "engine", "seed", "stop", "deterministic", "As configured"} <= reached, reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page, vault, scheme):
    told = vault.generate("abc")
    page = open_page(vault.url, color_scheme=scheme)
    page.locator("#engine option").first.wait_for(state="attached")
    choose(page, engine="tiny", max_tokens=20)
    page.check("#show-tokens")
    page.fill("#prompt-text", "abc")
    page.press("#prompt-text", "Control+Enter")
    finished(page, "#prompt-measures")
    page.locator("#prompt-answer .token").nth(2).click()
    for view in [*VIEWS, f"vault/{told['id']}", "error"]:
        if view == "error":
            page.evaluate("location.hash = 'prompt'")
            choose(page, temperature=200)
            page.press("#prompt-text", "Control+Enter")
            page.locator("#view-prompt > .problem").wait_for()
        else:
            page.evaluate("view => { location.hash = view }", view)
            page.locator(f"#view-{view.split('/')[0]}").wait_for()
        if "/" in view:
            page.click("#replay")
            page.locator("#vault-shown .verdict").wait_for()
        check_accessible(page, view)


def test_a_phone_shows_all_of_it(open_page, vault):
    told = vault.generate("a long prompt without an end " * 1)
    page = open_page(vault.url, viewport={"width": 360, "height": 740}, has_touch=True)
    page.locator("#state[data-state=ready]").wait_for()
    for view in [*VIEWS, f"vault/{told['id']}"]:
        page.evaluate("view => { location.hash = view }", view)
        page.locator(f"#view-{view.split('/')[0]}").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, f"{view} is wider than the screen"


def test_the_first_load_is_small(open_page, vault):
    page = open_page(vault.url)
    page.locator("#state[data-state=ready]").wait_for()
    sizes = page.evaluate(
        "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].map((entry) => [entry.name, entry.decodedBodySize])"
    )
    page_bytes = sum(size for name, size in sizes if "/assets/" in name or name.endswith("/"))
    assert 30_000 < page_bytes < 200_000, sizes
