"""From a recorded graph to kernels: index functions, fusion with a reason for each boundary, lifetimes."""
