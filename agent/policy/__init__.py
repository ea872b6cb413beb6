"""Pure decisions: who may charge, and how much power each port gets."""
