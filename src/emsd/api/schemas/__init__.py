"""What the API answers and takes, a module for each subject: every field with its unit."""
