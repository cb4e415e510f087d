"""Pictures, and the text on them."""
