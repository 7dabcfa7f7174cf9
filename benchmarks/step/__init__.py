"""Speed of the training iteration against its plain form and against the machine's matmul peak: docs/benchmark.md."""
