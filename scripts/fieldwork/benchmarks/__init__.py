"""Measure which way is the fastest on the machine at hand. Nothing else imports this package."""
