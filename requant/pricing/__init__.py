"""Prices measured on a machine: chains of one kernel, timed in float and on integers, and a fit to the times."""
