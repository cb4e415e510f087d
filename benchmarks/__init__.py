"""One command per published figure; ``make bench`` runs them all and writes the README's table."""
