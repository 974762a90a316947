"""Neural networks: they see ids and tensors only; no text, no tokenizer, no loss, no sampling."""
