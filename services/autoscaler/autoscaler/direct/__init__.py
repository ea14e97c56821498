"""Mouth (b): Kubernetes told directly, by the one autoscaler that holds a Lease."""
