"""Test whether focal loss calibrates neural networks by flattening the loss surface.

The library behind the workflow: data, models, losses, training, curvature, calibration, analysis
and plotting. Nothing in here knows of Snakemake.
"""
