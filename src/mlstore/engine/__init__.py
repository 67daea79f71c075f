"""The engine: nouns that all stand on (catalog, versions, session), and a room for each kind of journey.

Every function takes a Reader or a Writer: one call is one transaction and one consistent view.
"""
