"""Speed at which images reach a trainer, for our feed and other libraries, on the same images in the same encodings."""
