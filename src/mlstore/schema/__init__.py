"""What users declare, and the data they bring, made to fit it: types, times, definitions, frames.

Pure: knows pyarrow and numpy, no file and no engine. Everything declared is frozen.
"""
