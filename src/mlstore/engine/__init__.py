"""The engine: nouns (catalog, versions, history, tail, online) and journeys (ingest, training, reading, upkeep).

Every function takes a Reader or a Writer: one call is one transaction and one consistent view.
"""
