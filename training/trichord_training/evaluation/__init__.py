"""How well a checkpoint sees, hears and writes: held-out samples, asked through the cluster and in this process."""
