"""Seeds derived from what a thing is, never from the order in which it is executed."""

from __future__ import annotations

import hashlib
import json


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed that depends on all parts (JSON-serialisable) and on nothing else."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
