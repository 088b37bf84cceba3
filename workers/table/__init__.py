"""Tables of comparison: rows of settings, each over some seeds, as the papers print them. One table is one module."""
