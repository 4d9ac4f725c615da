"""Read the frames of stacks, measure them, and write their tables, pictures and image series."""
