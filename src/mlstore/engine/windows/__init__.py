"""Windows: aggregations over the events of a key, as of any moment: one function of the events, whoever asks.

Stands on history. Knows nothing of how features are asked for.
"""
