"""Networks with the operators in them: classifiers, detectors, segmenters, ablations.

May import: models, surgery and everything below them.
"""
