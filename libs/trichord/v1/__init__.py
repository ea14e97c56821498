"""Generated from protos/trichord/v1 by scripts/protos. Never edited."""
