"""Other libraries that read images, in their own virtual environment; imports only those of our modules that run there."""
