"""Read and check what the user wrote, and find the files that it names. Loads no NumPy."""
