"""Doors to other systems. Each speaks to one of them, and to mlstore by its public names only; import the one you need."""
