"""How fast images reach a trainer: our feed against other libraries, on the same images in the same encodings."""
