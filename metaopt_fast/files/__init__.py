"""Files in and out: readers of data files, archives of arrays, files with one owner.

All but ``validation``, ``typing`` and its neighbours may import it.
"""
