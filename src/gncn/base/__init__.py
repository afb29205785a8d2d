"""What all rooms stand on: errors, files, registries, arrays, the screen."""
