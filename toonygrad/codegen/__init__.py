"""From a scheduled kernel to Python source, and the words that source is written in."""
