"""One kind of test per file: a factory that returns a `Kind`.

Names listed in a file's ``__all__`` can be used in ``workflow/claims.yaml``; the file's ``KEYS``, a
literal, is the JSON schema of the keys that a claim of that kind has, and its ``OPTIONAL`` the list
of those that may be left out. Nothing else need be changed for a new kind.
"""
