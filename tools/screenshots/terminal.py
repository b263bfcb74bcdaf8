"""A program on a terminal of its own, whose screen becomes HTML: what the program says goes through a terminal emulator, nothing else into it."""

import fcntl
import html
import os
import pty
import re
import selectors
import struct
import subprocess
import termios
import time

import pyte
from wcwidth import wcwidth

# What the names of the sixteen colours stand for, as many terminals have them on a dark ground.
COLOURS = {
    "black": "#3b4252", "red": "#f07178", "green": "#a5d16a", "brown": "#f0c674", "blue": "#82aaff", "magenta": "#c792ea", "cyan": "#6fd0c4", "white": "#d6deeb",
    "brightblack": "#7f8c98", "brightred": "#ff8b92", "brightgreen": "#c3e88d", "brightbrown": "#ffe585", "brightblue": "#9cc4ff",
    "brightmagenta": "#ddb3ff", "brightcyan": "#8ff0e4", "brightwhite": "#ffffff",
}  # fmt: skip
INK, PAPER = "#d6deeb", "#161b1e"

STYLE = f"""
body {{ margin: 0; background: {PAPER}; color: {INK}; }}
#screen {{ display: inline-block; padding: 16px 20px; font: 14px "DejaVu Sans Mono", "Liberation Mono", monospace; white-space: pre; }}
#screen div {{ block-size: 17px; line-height: 17px; }}
#screen i {{ display: inline-block; font-style: inherit; overflow: visible; }}
"""


class Screen(pyte.Screen):
    """Knows faint text, which pyte doesn't: it is kept where pyte keeps text that blinks, which no program here has. Answers what it is asked."""

    answer = None

    def select_graphic_rendition(self, *attributes, **private):
        # `ESC [ > … m` asks for keys in another notation and styles nothing.
        if private:
            return
        attributes, faint, rest = list(attributes or [0]), None, []
        while attributes:
            code = attributes.pop(0)
            if code in (38, 48):
                length = {5: 2, 2: 4}.get(attributes[0] if attributes else None, 0)
                rest += [code, *attributes[:length]]
                del attributes[:length]
                continue
            faint = True if code == 2 else False if code in (0, 22) else faint
            if code != 2:
                rest.append(code)
        if rest:
            super().select_graphic_rendition(*rest)
        if faint is not None:
            self.cursor.attrs = self.cursor.attrs._replace(blink=faint)

    def write_process_input(self, data):
        self.answer(data)


class Terminal:
    """The program runs while the `with` block lasts."""

    def __init__(self, command, columns, lines, environment):
        self.screen = Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.screen.answer = lambda data: os.write(self.master, data.encode())
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.master, selectors.EVENT_READ)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.master)

    def read(self, seconds):
        """What comes in this time; false where nothing does."""
        if not self.selector.select(seconds):
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            # Linux says so once the program has left.
            data = b""
        self.stream.feed(data)
        return bool(data)

    def read_for(self, seconds):
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.read(left)

    def type(self, text):
        for letter in text:
            os.write(self.master, letter.encode())
            self.read(0.01)

    def wait_for(self, pattern, times=1, patience=120):
        """Until the screen shows the pattern so many times and nothing more comes for a moment."""
        deadline = time.monotonic() + patience
        while len(re.findall(pattern, self.text(), re.MULTILINE)) < times or self.read(0.3):
            if time.monotonic() > deadline:
                raise TimeoutError(f"`{pattern}` isn't there {times} times after {patience} seconds:\n{self.text()}")
            self.read(0.1)

    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)

    def html(self):
        """A page with the screen, down to its last line with anything on it."""
        screen = self.screen
        last = max((row for row, line in enumerate(screen.display) if line.strip()), default=0)
        cursor = None if screen.cursor.hidden else (screen.cursor.y, screen.cursor.x)
        last = max(last, cursor[0] if cursor else 0)
        rows = "".join(f"<div>{self.row(row, cursor)}</div>" for row in range(last + 1))
        return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style><div id="screen" style="inline-size: {screen.columns}ch">{rows}</div>'

    def row(self, row, cursor):
        cells = []
        for column in range(self.screen.columns):
            cell = self.screen.buffer[row][column]
            # The second half of a wide character is empty.
            if cell.data:
                cells.append(f'<i style="{style(cell, (row, column) == cursor)}">{html.escape(cell.data)}</i>')
        return "".join(cells)


def style(cell, under_cursor):
    """A cell's CSS. Each has the width that the grid gives it, whatever font its character comes from."""
    colour = lambda name, default: default if name == "default" else COLOURS.get(name, f"#{name}")  # noqa: E731
    ink, paper = colour(cell.fg, INK), colour(cell.bg, PAPER)
    if cell.reverse != under_cursor:
        ink, paper = paper, ink
    told = [f"inline-size: {max(1, wcwidth(cell.data[0]))}ch", f"color: {ink}"]
    told += [f"background: {paper}"] if paper != PAPER else []
    told += ["font-weight: bold"] if cell.bold else []
    told += ["font-style: italic"] if cell.italics else []
    told += ["opacity: .6"] if cell.blink else []
    lines = [name for name, drawn in [("underline", cell.underscore), ("line-through", cell.strikethrough)] if drawn]
    told += [f"text-decoration: {' '.join(lines)}"] if lines else []
    return "; ".join(told)
