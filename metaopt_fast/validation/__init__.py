"""What callers give, read and checked: numbers, frames, labels, and objects of their own.

All may import it; it imports nothing of the package.
"""
