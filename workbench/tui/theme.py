"""The app's themes, and the colours of what it draws.

`workbench-dark` and `workbench-light` are for most eyes; `workbench-safe` uses the palette of Okabe
and Ito (2008), whose colours stay apart under the common kinds of colour blindness. What a colour
says is said by a sign as well.
"""

from __future__ import annotations

from textual.theme import Theme

DEFAULT_THEME = "workbench-dark"


def _dark() -> Theme:
    return Theme(
        name=DEFAULT_THEME,
        primary="#4f9dde",
        secondary="#9d7cd8",
        accent="#e0af68",
        warning="#e0af68",
        error="#f7768e",
        success="#7bc275",
        foreground="#d5d9e0",
        background="#12151a",
        surface="#181c23",
        panel="#222833",
        dark=True,
        variables=_signals(
            series=("#4fb3e8", "#e8a33d", "#7bc275", "#c98bdb", "#e0707c", "#8fa3b8"),
            good="#7bc275",
            bad="#f7768e",
            warn="#e0af68",
            muted="#7c8696",
            axis="#4a5362",
            kv=("#e8a33d", "#4fb3e8", "#5d7391", "#272e3a"),
            kinds=("#e8a33d", "#4fb3e8", "#c98bdb", "#7bc275", "#e0707c"),
        ),
    )


def _light() -> Theme:
    return Theme(
        name="workbench-light",
        primary="#1f6feb",
        secondary="#7048b6",
        accent="#9a6700",
        warning="#9a6700",
        error="#c0243c",
        success="#1a7f37",
        foreground="#1f2328",
        background="#fbfbfa",
        surface="#f3f4f5",
        panel="#e5e8eb",
        dark=False,
        variables=_signals(
            series=("#0a69c7", "#b35900", "#1a7f37", "#8250df", "#c0243c", "#57606a"),
            good="#1a7f37",
            bad="#c0243c",
            warn="#9a6700",
            muted="#5b6470",
            axis="#a8b0b9",
            kv=("#b35900", "#0a69c7", "#8ba3bd", "#dde1e5"),
            kinds=("#b35900", "#0a69c7", "#8250df", "#1a7f37", "#c0243c"),
        ),
    )


def _safe() -> Theme:
    return Theme(
        name="workbench-safe",
        primary="#56b4e9",
        secondary="#cc79a7",
        accent="#f0e442",
        warning="#e69f00",
        error="#d55e00",
        success="#56b4e9",
        foreground="#e4e4e4",
        background="#101214",
        surface="#171a1d",
        panel="#23272c",
        dark=True,
        variables=_signals(
            series=("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#a0a0a0"),
            good="#56b4e9",
            bad="#d55e00",
            warn="#f0e442",
            muted="#8c9299",
            axis="#535a62",
            kv=("#e69f00", "#56b4e9", "#5f6f7f", "#2a2f35"),
            kinds=("#e69f00", "#56b4e9", "#cc79a7", "#009e73", "#d55e00"),
        ),
    )


def themes() -> tuple[Theme, ...]:
    """Every theme of the app; the first is the default."""
    return (_dark(), _light(), _safe())


def default_variables() -> dict[str, str]:
    """The drawing colours for themes that are not ours: Textual's own have none of them."""
    return dict(_dark().variables)


def _signals(
    series: tuple[str, ...],
    good: str,
    bad: str,
    warn: str,
    muted: str,
    axis: str,
    kv: tuple[str, str, str, str],
    kinds: tuple[str, str, str, str, str],
) -> dict[str, str]:
    """CSS variables: `kv` is shared, live, cached, free; `kinds` is prefill, decode, mixed,
    transfer, verify."""
    variables = {f"series-{number}": color for number, color in enumerate(series, 1)}
    variables |= {"good": good, "bad": bad, "warn": warn, "muted": muted, "axis": axis}
    variables |= dict(zip(("kv-shared", "kv-live", "kv-cached", "kv-free"), kv, strict=True))
    names = ("prefill", "decode", "mixed", "transfer", "verify")
    return variables | dict(zip(names, kinds, strict=True))
