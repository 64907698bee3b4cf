"""Rows as the kernels read them: checked, packed, subset, merged, standardized.

``objectives``, the four methods, ``selection``, ``sklearn`` and ``cli`` import it.
"""
