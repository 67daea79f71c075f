"""Values to bytes and back, pure: nothing here opens a file. `docs/format.md` is the same in prose."""
