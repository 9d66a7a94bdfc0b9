"""``qkld card``: figures of quants for a model card, with the panel that makes two cards comparable."""
