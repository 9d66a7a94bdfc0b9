"""The store of the reference's hidden states, and its recording (notebook 01)."""
