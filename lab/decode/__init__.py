"""From logits to text: filters that reshape a distribution, and ways to choose from it."""
