"""Rows and definitions that come in or go: ingest, streams, deletes, registration, and transactions of several.

One call is one commit: online, history, catalogue and feed together.
"""
