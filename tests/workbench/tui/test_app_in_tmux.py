"""The app in a real terminal: starts a run, shows each screen, resizes, and leaves no trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]

LIMIT_S = 90


class Tmux:
    """A tmux server of its own with one window."""

    def __init__(self, folder, columns: int, rows: int) -> None:
        self._words = ["tmux", "-L", f"workbench-{uuid.uuid4().hex[:12]}", "-f", os.devnull]
        environ = os.environ | {
            "WORKBENCH_HOME": str(folder),
            "TMUX_TMPDIR": str(folder),
        }
        environ.pop("TMUX", None)
        self._environ = environ
        self("new-session", "-d", "-x", str(columns), "-y", str(rows), "sh")

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [*self._words, *words], env=self._environ, capture_output=True, text=True, check=True
        )
        return done.stdout

    def keys(self, *keys: str) -> None:
        self("send-keys", *keys)

    def screen(self) -> str:
        return self("capture-pane", "-p")

    def wait_for(self, text: str, gone: bool = False) -> str:
        """The screen once `text` is on it, or is no longer."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            shown = self.screen()
            if (text in shown) != gone:
                return shown
            time.sleep(0.1)
        raise AssertionError(f"waited in vain for {text!r}; the screen has:\n{shown}")


@pytest.fixture
def tmux(tmp_path):
    opened = Tmux(tmp_path, 180, 50)
    yield opened
    opened("kill-server")


def terminal_modes(tmux: Tmux) -> str:
    """What the shell's terminal is set to, without its size."""
    mark = uuid.uuid4().hex[:6]
    tmux.keys(f"clear; echo {mark[:3]}''{mark[3:]} $(stty -g) end", "Enter")
    shown = tmux.wait_for(f"{mark} ")
    return next(line for line in shown.splitlines() if line.startswith(mark)).split()[1]


SPEC = """\
name = "short"

[model]
name = "random:tiny"
device = "cpu"

[traffic]
rate = 4.0
duration = 4.0
input_tokens = "16..64"
output_tokens = "4..16"
"""


def test_a_run_from_the_first_screen_to_a_restored_terminal(tmux, tmp_path):
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "short.toml").write_text(SPEC)
    state = "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{bracket_paste_flag}"
    before = tmux("display-message", "-p", state)
    modes = terminal_modes(tmux)
    tmux.keys(f"{sys.executable} -m workbench", "Enter")
    tmux.wait_for("workbench run --workload chat")
    tmux.keys("C-o")
    tmux.wait_for("short")
    tmux.keys("Enter")
    tmux.wait_for("--model random:tiny")
    tmux.keys("C-r")
    tmux.wait_for("TTFT")
    tmux.wait_for("finished")
    for key, text in (
        ("3", "sorted by"),
        ("4", "worker 0"),
        ("5", "short"),
        ("6", "mark"),
        ("1", "Earlier runs"),
        ("2", "Tokens/s"),
    ):
        tmux.keys(key)
        tmux.wait_for(text)
    tmux.keys("?")
    tmux.wait_for("Everywhere")
    tmux.keys("Escape")
    tmux.wait_for("Everywhere", gone=True)
    tmux("resize-window", "-x", "80", "-y", "24")
    shown = tmux.wait_for("TTFT")
    assert all(len(line) <= 80 for line in shown.splitlines())
    tmux("resize-window", "-x", "50", "-y", "12")
    tmux.wait_for("too small: 50×12")
    tmux("resize-window", "-x", "100", "-y", "30")
    tmux.wait_for("too small", gone=True)
    tmux.wait_for("TTFT")
    tmux.keys("q")
    deadline = time.monotonic() + LIMIT_S
    while tmux("display-message", "-p", state) != before:
        assert time.monotonic() < deadline, "the terminal's screen is not restored"
        time.sleep(0.1)
    assert terminal_modes(tmux) == modes
