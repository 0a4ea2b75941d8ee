"""Which system calls of clients reach the host: their table, the filter, and the notifications."""
