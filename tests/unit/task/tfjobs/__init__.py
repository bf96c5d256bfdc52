"""TFJobs as a door for jobs."""
