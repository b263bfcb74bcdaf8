"""The page's pictures, each in the light and in the dark."""

from playwright.sync_api import expect

PATIENCE = 120_000
expect.set_options(timeout=PATIENCE)


class Page:
    """The daemon's page, opened; saved at the end as it is then."""

    def __init__(self, studio, name, height, view=""):
        self.studio, self.name = studio, name
        self.context = studio.browser.new_context(viewport={"width": 1200, "height": height}, device_scale_factor=1.5)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(f"{studio.url}/{view}")

    def __enter__(self):
        self.page.locator("#state[data-state=ready]").wait_for()
        return self.page

    def __exit__(self, kind, *_):
        if kind is None:
            for scheme, name in [("light", self.name), ("dark", f"{self.name}-dark")]:
                self.page.emulate_media(color_scheme=scheme)
                self.studio.save(name, self.page.screenshot(animations="disabled"))
        self.context.close()


def prompt(studio):
    """An answer with what its tokens tell."""
    with Page(studio, "page-prompt", 700) as page:
        page.fill("#max_tokens", "80")
        page.fill("#seed", "7")
        page.fill("#temperature", "0.7")
        page.check("#show-tokens")
        page.fill("#prompt-text", "The capital of France is")
        page.press("#prompt-text", "Control+Enter")
        expect(page.locator("#prompt-measures")).to_contain_text("ended by")
        # A token that the model wasn't sure of; far to the right, where what is told of it leaves the speed to be seen.
        unsure = page.locator("#prompt-answer .token.p1, #prompt-answer .token.p2").all()
        max(unsure, key=lambda token: token.bounding_box()["x"]).hover()


def vault(studio):
    """An interaction in the log, had again."""
    prompts = ["The sea is", "Water boils at", "The capital of France is", "Once upon a time", "To bake bread,", "The moon"]
    told = [studio.ask("/generate", {"prompt": words, "max_tokens": 48, "seed": seed, "temperature": 0.7}) for seed, words in enumerate(prompts)]
    shown = told[2]["id"]
    with Page(studio, "page-vault", 760, f"#vault/{shown}") as page:
        page.click("#replay")
        page.locator("#vault-shown .verdict").wait_for()
        page.evaluate("scrollTo(0, 0)")


def metrics(studio):
    """What is measured while there is more or less to do."""
    with Page(studio, "page-metrics", 525) as page:
        page.click("#tab-metrics")
        for clients in [2, 6, 12, 5]:
            with studio.load(clients):
                page.wait_for_timeout(40_000)


PICTURES = {"page-prompt": prompt, "page-vault": vault, "page-metrics": metrics}
