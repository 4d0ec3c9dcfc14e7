"""Everything that runs: memory, compiled kernels, the interpreter, external libraries, plans."""
