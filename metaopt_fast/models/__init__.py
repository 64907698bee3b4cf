"""Models to keep: columns as they were prepared, coefficients, classes; files; points tables.

``fitting``, ``search`` and all above may import it.
"""
