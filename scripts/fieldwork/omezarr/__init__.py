"""Write and read OME-Zarr stores: 0.5 (Zarr 3, sharded) and 0.4 (Zarr 2); of slides, and of plates."""
