"""The worker of jobs: takes items from the queue, asks the gateway, keeps the results."""
