"""The client's pictures."""

import os

from terminal import Terminal

PROMPT = "$ "


def environment(studio):
    """A terminal with colours, a daemon to ask, and nothing of this user's: no history, no profiles."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MINIVAULT") and name not in ("NO_COLOR", "CI")}
    home = studio.scratch / "home"
    home.mkdir(exist_ok=True)
    kept.update(TERM="xterm-256color", COLORTERM="truecolor", LANG="C.UTF-8", HOME=str(home), XDG_CONFIG_HOME=str(home), XDG_DATA_HOME=str(home))
    kept.update(MINIVAULT_URL=studio.url, PS1=PROMPT, PATH=f"{studio.minivault.parent}:{kept['PATH']}")
    return kept


def draw(studio, name, terminal):
    """The screen as it stands, drawn by the browser."""
    with studio.browser.new_context(viewport={"width": 1400, "height": 1000}, device_scale_factor=2) as context:
        page = context.new_page()
        page.set_content(terminal.html())
        studio.save(name, page.locator("#screen").screenshot())


def chat(studio):
    with Terminal(["bash", "--norc", "--noprofile"], 99, 40, environment(studio)) as terminal:
        terminal.wait_for(r"^\$")
        terminal.type("minivault chat --temperature 0\r")
        terminal.wait_for("^>")
        for turn, message in enumerate(["Write a Python function that reverses a string.", "Write a Python function that checks whether a number is even."]):
            terminal.type(f"{message}\r")
            # A turn ends with its footer, and the next one's prompt is there.
            terminal.wait_for(r"tokens/s", turn + 1)
        draw(studio, "chat", terminal)


def top(studio):
    with studio.load(8), Terminal([str(studio.minivault), "top"], 99, 26, environment(studio)) as terminal:
        # Long enough for its curves.
        terminal.read_for(45)
        terminal.wait_for("smollm2")
        draw(studio, "top", terminal)


PICTURES = {"chat": chat, "top": top}
