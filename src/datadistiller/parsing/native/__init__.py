"""The loop over the words of a PDF page, in C. Where it is not compiled Python does the same, more slowly."""
