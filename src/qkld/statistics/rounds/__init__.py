"""Items in rounds: decisions that are looked at after every round, with one error rate for all of them."""
