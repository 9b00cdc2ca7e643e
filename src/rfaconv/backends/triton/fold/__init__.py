"""BatchNorm of the features from the moments."""
