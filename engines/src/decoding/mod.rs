//! From logits to text, written once for all local engines.
