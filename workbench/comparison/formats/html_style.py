"""The style of the HTML page: two palettes, light and dark, and the rules that use them."""

from __future__ import annotations

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff", "ink": "#1f2328", "muted": "#57606a", "link": "#0a58b0",
    "rule": "#d0d7de", "axis": "#6e7781", "stripe": "#f3f5f7", "loud": "#fff3cd",
    "better": "#00665a", "worse": "#a3154f", "noisy": "#7a5200",
    "side-0": "#0a69c7", "side-1": "#b35900", "side-2": "#1a7f37", "side-3": "#8250df",
    "side-4": "#c0243c", "side-5": "#57606a",
    "stage-0": "#57606a", "stage-1": "#0a69c7", "stage-2": "#b35900", "stage-3": "#8250df",
    "stage-4": "#1a7f37", "stage-5": "#c0243c",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "paper": "#12151a", "ink": "#d5d9e0", "muted": "#9aa4b2", "link": "#7ab8f5",
    "rule": "#333b48", "axis": "#7c8696", "stripe": "#1a1f27", "loud": "#3d3212",
    "better": "#5ad1bb", "worse": "#ff8ab5", "noisy": "#e0af68",
    "side-0": "#4fb3e8", "side-1": "#e8a33d", "side-2": "#7bc275", "side-3": "#c98bdb",
    "side-4": "#e0707c", "side-5": "#8fa3b8",
    "stage-0": "#8fa3b8", "stage-1": "#4fb3e8", "stage-2": "#e8a33d", "stage-3": "#c98bdb",
    "stage-4": "#7bc275", "stage-5": "#e0707c",
}  # fmt: skip
WORDS = ("ink", "muted", "link", "better", "worse", "noisy")
"""Colours of text: 4.5 : 1 and more against `paper`, `stripe` and `loud`, as WCAG AA asks."""
_RULES = """
*{box-sizing:border-box}
html{color-scheme:light dark}
body{margin:0 auto;padding:1.5rem 1rem 3rem;max-width:72rem;background:var(--paper);
color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.5rem 0 .75rem}
h3{font-size:1.05rem;margin:1.5rem 0 .5rem}
p,ul{margin:.5rem 0}
li,p{overflow-wrap:anywhere}
a{color:var(--link)}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;padding:0;list-style:none}
.loud{background:var(--loud);border-left:.4rem solid var(--noisy);padding:.5rem 1rem;margin:1rem 0}
.scroll{overflow-x:auto;margin:.75rem 0 1.5rem}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.25rem 0}
th,td{padding:.25rem .75rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
thead th{border-bottom:2px solid var(--axis);vertical-align:bottom}
tbody th{font-weight:400}
tbody tr:hover>*{background:var(--stripe)}
.figure{text-align:right;white-space:nowrap}
.verdict{white-space:nowrap}
.long{min-width:8rem;max-width:26rem;overflow-wrap:anywhere}
.better{color:var(--better);font-weight:600}
.worse{color:var(--worse);font-weight:600}
.noisy{color:var(--noisy)}
.muted{color:var(--muted)}
figure{margin:.75rem 0}
figcaption{font-size:.9rem;color:var(--muted)}
.drawing{overflow-x:auto}
.drawing svg{display:block;height:auto;width:100%;min-width:640px;max-width:60rem}
.small{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:1rem}
.small svg{display:block;height:auto;width:100%;max-width:30rem}
footer{margin-top:3rem;border-top:1px solid var(--rule);font-size:.9rem}
svg text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;
fill:var(--ink)}
svg text.muted{fill:var(--muted)}
svg text.better{fill:var(--better)}
svg text.worse{fill:var(--worse)}
svg .grid{stroke:var(--rule)}
svg .axis{stroke:var(--axis);stroke-width:1.5}
svg .front{stroke:var(--axis);stroke-width:1.5;stroke-dasharray:4 4}
svg .curve{fill:none;stroke-width:2}
svg .reach{stroke-width:2.5}
svg .hollow{fill:var(--paper);stroke-width:2}
svg .full{stroke-width:2}
svg .part{stroke:var(--paper);stroke-width:1}
svg .plate{fill:var(--paper)}
svg .texture{fill:none;stroke:var(--paper);stroke-width:1.5}
@media (forced-colors:active){svg{forced-color-adjust:none;background:var(--paper)}}
@media print{nav{display:none}.scroll,.drawing{overflow:visible}}
"""


def style() -> str:
    """The content of the page's `style` element."""
    sides = sorted(name for name in LIGHT if name.startswith("side-"))
    stages = sorted(name for name in LIGHT if name.startswith("stage-"))
    painted = [f"svg .{side}{{stroke:var(--{side})}}svg .full.{side}{{fill:var(--{side})}}"
               for side in sides]  # fmt: skip
    painted += [f"svg .{stage}{{fill:var(--{stage})}}" for stage in stages]
    dark = f"@media (prefers-color-scheme:dark){{{_variables(DARK)}}}"
    return "\n".join((_variables(LIGHT), dark, _RULES.strip(), *painted))


def _variables(palette: Mapping[str, str]) -> str:
    return ":root{" + ";".join(f"--{name}:{color}" for name, color in palette.items()) + "}"
