"""Read whole slides, convert them to OME-Zarr, measure their tiles, and write their tables and pictures."""
