"""Packed datasets: format, packing, verification, reading and streaming."""
