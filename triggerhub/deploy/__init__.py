"""Keep functions that were made through the Lambda API: their code, versions and settings, over every restart."""
