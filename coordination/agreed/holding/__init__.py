"""Who asks for leases: believing, renewing, giving back."""
