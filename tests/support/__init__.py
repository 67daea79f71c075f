"""What the tests share: the worlds they play in, the data they make, and plain-Python twins of what they test."""
