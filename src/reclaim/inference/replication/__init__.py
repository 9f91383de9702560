"""What a few seeds say about what a paper printed: pure functions over plain numbers.

Nothing here knows of papers or files. p-values are raw; `families` adjusts them.
"""
