"""Hook of MkDocs: the site holds the pages of docs/ alone; other links become their text."""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page's text without links that lead out of docs/ or to tables."""
    return re.sub(r"\[([^\]]+)\]\((?:\.\./[^)]+|[^)]+\.csv)\)", r"\1", markdown)
