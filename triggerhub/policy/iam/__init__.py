"""Read IAM policies and decide by them."""
