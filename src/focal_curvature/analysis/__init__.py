"""From the runs' own files to tidy tables, with intervals."""
