"""What is inside of image files, as far as planning needs to know: channels and planes. Loads no NumPy."""
