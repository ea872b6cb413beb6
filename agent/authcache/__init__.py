"""Who may charge, without asking anybody: the allowlist (the operator's word), the cache (the cloud's last answers)."""
