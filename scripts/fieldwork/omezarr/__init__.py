"""Write and read OME-Zarr stores of slides and of plates: 0.5 (Zarr 3, sharded) and 0.4 (Zarr 2)."""
