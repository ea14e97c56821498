"""Generated from protos/trichord/keda by scripts/protos. Never edited."""
