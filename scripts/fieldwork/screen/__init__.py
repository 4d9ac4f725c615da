"""The wells of a screen compared: profiles, controls, hits and doses. Jobs of this package import pandas."""
