"""Figures: one style, one colour and marker a quant family, and ``draw_*(ax, table, …)`` for each picture."""
