"""Settings on disk: what is kept, and what a broken file says."""

from __future__ import annotations

import stat

import pytest

from workbench.errors import SpecError
from workbench.tui.settings import Settings, read_settings, write_settings


def test_settings_are_kept_for_their_owner_alone(tmp_path):
    path = tmp_path / "home" / "settings.toml"
    chosen = Settings(theme="workbench-safe", refresh_hz=2.0, ascii=True)
    write_settings(path, chosen)
    assert read_settings(path) == chosen
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_file_there_are_defaults(tmp_path):
    assert read_settings(tmp_path / "settings.toml") == Settings()


def test_a_whole_number_is_a_rate(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("refresh_hz = 2\n")
    assert read_settings(path).refresh_hz == 2.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "unknown key 'colour'; known are theme, refresh_hz, ascii"),
        ("ascii = 1", "ascii = 1 is not a bool"),
        ("refresh_hz = 60.0", "refresh_hz = 60; it is 1, 2, 4"),
        ("theme = ", "settings.toml"),
    ],
)
def test_a_bad_file_says_where_and_what(tmp_path, text, message):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message.replace("?", r"\?")):
        read_settings(path)
