"""Import it before numpy: what a script makes is then what the workflow makes, to the last bit."""

import os

from focal_curvature.provenance import PORTABLE_KERNELS

os.environ.update(PORTABLE_KERNELS)
