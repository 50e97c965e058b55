"""What users hand in: checked once, at the call, and turned into what the parts understand."""
