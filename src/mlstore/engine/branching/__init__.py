"""Lines of versions and what differs between them: branches, diff, merge, rollback, revert.

Costs what changed, never what is stored.
"""
