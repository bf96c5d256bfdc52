"""TFJobs (``kubeflow.org/v1``): objects applied in the cluster run as jobs.

Opt-in. The objects of some namespaces are watched; each becomes a job by the same import as a
TFJob's file, and its status tells of that job in the words of the operator that made the kind.
"""
