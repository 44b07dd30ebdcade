"""What the user chose for the app, kept between sessions in one small TOML file."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from workbench.errors import SpecError
from workbench.runs.store import home
from workbench.tui.theme import DEFAULT_THEME

REFRESH_RATES_HZ = (1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the app.

    Attributes:
        theme: a name of `theme.themes()`, or of one of Textual's.
        refresh_hz: how often a live screen looks for news, 1/s.
        ascii: draw with 7-bit characters alone.
    """

    theme: str = DEFAULT_THEME
    refresh_hz: float = 4.0
    ascii: bool = False

    def changed(self, **values: Any) -> Settings:
        """The same with other values."""
        return replace(self, **values)


def settings_path() -> Path:
    """Where they are kept."""
    return home() / "settings.toml"


def read_settings(path: Path) -> Settings:
    """The settings in `path`; the defaults where there is no such file.

    Raises:
        SpecError: the file can't be read, or has an unknown key or a value of another type.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"settings {path}: {error}; correct or remove the file") from None
    plain = Settings()
    known = {field.name: type(getattr(plain, field.name)) for field in fields(Settings)}
    for key, value in data.items():
        if key not in known:
            raise SpecError(f"settings {path}: unknown key {key!r}; known are {', '.join(known)}")
        if known[key] is float and isinstance(value, int) and not isinstance(value, bool):
            data[key] = value = float(value)
        if not isinstance(value, known[key]):
            raise SpecError(f"settings {path}: {key} = {value!r} is not a {known[key].__name__}")
    settings = replace(plain, **data)
    if settings.refresh_hz not in REFRESH_RATES_HZ:
        rates = ", ".join(f"{rate:g}" for rate in REFRESH_RATES_HZ)
        raise SpecError(f"settings {path}: refresh_hz = {settings.refresh_hz:g}; it is {rates}")
    return settings


def write_settings(path: Path, settings: Settings) -> None:
    """Saves them, readable by their owner alone.

    Raises:
        OSError: the disk is full or can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_suffix(".part")
    lines = (f"{key} = {json.dumps(value)}\n" for key, value in asdict(settings).items())
    aside.touch(mode=0o600)
    aside.write_text("".join(lines), encoding="utf-8")
    aside.rename(path)
