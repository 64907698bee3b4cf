"""Fitted models to keep: columns as they were prepared, coefficients, classes; files of them.

``fitting``, ``search`` and all above may import it.
"""
