"""Storage: the one room that touches the file (and imports lmdb). It knows bytes, keyspaces and addresses.

A new file exists, with its header and its keyspaces, once `Environment.open` returns; after that every call is one
transaction. See `environment` for handles, `transaction` for reading and writing, `lease` for bytes that outlive both.
"""
