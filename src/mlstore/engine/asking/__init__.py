"""Questions and their answers: training sets, online reads, sequences, history rows, and why an answer is what it is.

Changes nothing. One question is one reader.
"""
