"""Measurements of the packages: speed, studies of training, and the algorithms for R_D*."""
