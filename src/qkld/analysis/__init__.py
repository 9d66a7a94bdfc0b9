"""From the tables of stages 01 to 03, or from a table of one's own, to the result tables (notebooks 04 to 07)."""
