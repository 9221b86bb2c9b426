"""What is measured on a trained run, as the record of it that is kept beside the run."""
