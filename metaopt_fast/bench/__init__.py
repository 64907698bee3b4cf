"""Rates of the kernels beside the limits of the machine: the command bench.

Only ``cli`` imports it.
"""
