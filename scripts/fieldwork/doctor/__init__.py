"""Whether a machine is fit for Fieldwork."""
