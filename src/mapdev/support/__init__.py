"""What building modules and running machines share: other people's programs, and the cache."""
