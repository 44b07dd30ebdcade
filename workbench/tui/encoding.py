"""Whether the terminal's characters are Unicode's."""

from __future__ import annotations

import locale
import os
from collections.abc import Mapping


def takes_unicode(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the locale is one of UTF-8: by its name, as it may not be installed here."""
    chosen = (environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    name = next((value for value in chosen if value), "") or locale.nl_langinfo(locale.CODESET)
    return "utf8" in name.lower().replace("-", "")
