"""The past of a table: blocks sorted by (key, time), the tail before them, and the searches over both.

Refuses to know who asks. Its neighbours above read it, write it and keep it.
"""
