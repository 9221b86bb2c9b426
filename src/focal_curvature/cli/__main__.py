"""``python -m focal_curvature.cli``, where the package is not installed."""

from focal_curvature.cli import main

main()
