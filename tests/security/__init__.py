"""Nobody else may read or change what is ours."""
