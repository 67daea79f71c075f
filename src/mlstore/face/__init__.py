"""The face by theme: the methods of a store, each of which hands straight on to the journey that does the work."""
