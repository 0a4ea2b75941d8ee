"""Page faults of clients: noticed by a userfaultfd, answered by the driver, mapped by a worker."""
