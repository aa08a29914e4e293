"""What the plant is: the models of its description, the profiles of its devices, and the loader that reads both."""
