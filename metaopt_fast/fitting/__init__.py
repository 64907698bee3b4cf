"""Regularised models to their optima, many at once, each with a bound of what is left to gain.

``selection``, ``sklearn``, ``bench`` and ``cli`` import it; ``search``, ``evolution`` and
``descent`` do not. What they need stands in ``fit_many`` (the public call, and `fit_models`, which
takes checked rows and warns of nothing), ``arguments`` (`Effort`, `Rows`), ``class_weights``
(`ClassWeight`, `class_factors`, `split_exponent`) and ``result`` (`FitResult`, and the words for
models that have not converged). The other modules are the method.
"""
