"""Regularised models to their optima, many at once, each with a bound of what is left to gain.

``selection``, ``sklearn``, ``bench`` and ``cli`` import it; ``search``, ``evolution`` and
``descent`` do not.
"""
