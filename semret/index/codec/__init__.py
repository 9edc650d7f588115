"""How tokens are stored: projected on their principal directions and rounded to small integers."""
