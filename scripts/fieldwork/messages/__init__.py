"""Texts for people: in terminals, logs and tables."""
