"""A packed dataset: its format, how it is made, checked, read and streamed."""
