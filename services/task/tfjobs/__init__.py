"""TFJobs (``kubeflow.org/v1``) as a door for jobs: what is applied in the cluster runs here.

Opt-in. The objects of some namespaces are watched; each becomes a job by the same import as a
TFJob's file, and its status tells of that job in the words of the operator that made the kind.
"""
