"""Trees of least cost, found by counting: binary features, the search, the tree.

`selection` and what stands above it may import it.
"""
