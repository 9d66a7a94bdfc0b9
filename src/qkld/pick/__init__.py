"""``qkld pick``: which file of a model to take, measured in rounds until it is decided or the time is used."""
