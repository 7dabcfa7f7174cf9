def validate_checkpoint(run_url, checkpoint): return {}
