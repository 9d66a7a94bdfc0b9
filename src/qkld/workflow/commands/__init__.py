"""The commands of `qkld` that have options of their own."""
