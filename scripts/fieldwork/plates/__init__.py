"""Measure the fields of plates, and write their tables, pictures and stores."""
