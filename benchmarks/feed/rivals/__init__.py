"""Other ways to read images, in a virtual environment of their own: of the project only what needs no more than that."""
